"""Envoy, the directory of systems, and the `passerelle` command."""
