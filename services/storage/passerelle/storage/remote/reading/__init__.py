"""The helper's operations that only read."""
