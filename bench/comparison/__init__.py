"""The comparison that `python -m bench` makes: its operations, its sides, its rounds, and how they are shown."""
