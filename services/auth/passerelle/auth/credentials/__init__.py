"""How a principal logs in to a system: a port with plugins."""
