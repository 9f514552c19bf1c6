"""Copies of files from one system to another: through this service, or through a store that both stage with."""
