"""Processes that serve: one gRPC server, its sockets, and its channels to other services."""
