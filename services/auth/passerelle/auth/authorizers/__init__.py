"""Authorisation of principals on systems: the port `Authorizer` and the plugins that implement it.

May import: `auth.tokens`, for the principal.
"""
