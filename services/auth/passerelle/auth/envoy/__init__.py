"""What Envoy asks of auth, and tells it."""
