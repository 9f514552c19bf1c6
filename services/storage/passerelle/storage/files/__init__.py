"""Files of one system: what can be done with them, as the current caller."""
