"""Envoy: its configuration, rendered from the site's and the contracts', and the command that runs it."""
