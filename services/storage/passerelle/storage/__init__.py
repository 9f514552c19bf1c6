"""Files on the systems."""
