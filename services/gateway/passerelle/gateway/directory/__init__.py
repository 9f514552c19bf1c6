"""The directory of systems and their health."""
