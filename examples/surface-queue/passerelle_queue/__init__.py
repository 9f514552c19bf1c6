"""A third API: the caller's jobs as entries of a queue."""
