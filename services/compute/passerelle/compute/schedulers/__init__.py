"""The schedulers that come with Passerelle; each is found by its entry point."""
