"""Who the caller is, what it may do, and how it logs in to the systems."""
