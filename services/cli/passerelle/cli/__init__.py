"""The operator's command, `passerelle`."""
