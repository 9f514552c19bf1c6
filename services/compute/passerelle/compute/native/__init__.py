"""The native API of compute, `passerelle.v1.ComputeService`."""
