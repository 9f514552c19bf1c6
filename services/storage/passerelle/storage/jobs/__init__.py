"""Jobs that move data on a system."""
