"""An example of a scheduler plugin that lives outside of Passerelle: IBM Spectrum LSF, from its documentation."""
