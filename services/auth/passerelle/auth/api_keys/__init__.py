"""API keys: credentials of programs that no identity provider knows, in a file that holds their digests.

May import: `auth.tokens`, for what a principal is and for files that are read again; of the runtime, configuration.
"""
