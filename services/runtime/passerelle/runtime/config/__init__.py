"""Reading and checking the one configuration file."""
