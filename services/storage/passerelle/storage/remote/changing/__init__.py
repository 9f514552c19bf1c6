"""The helper's operations that change files."""
