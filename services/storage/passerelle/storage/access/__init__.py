"""How operations reach one system as the current caller."""
