"""Roads for bulk data beside the gateway: a port with plugins."""
