"""Pooled SSH: few connections per user and system, channels queued below the server's MaxSessions."""
