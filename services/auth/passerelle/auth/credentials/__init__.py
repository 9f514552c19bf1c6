"""How a principal logs in to a system: the port `Credentials` and the plugins that implement it.

May import: `auth.tokens`, for the principal.
"""
