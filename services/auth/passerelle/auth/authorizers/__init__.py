"""What a principal may do on a system: a port with plugins."""
