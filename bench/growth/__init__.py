"""What the gateway costs as what it serves grows."""
