"""What a principal may do on a system: the port `Authorizer` and the plugins that implement it.

May import: `auth.tokens`, for the principal.
"""
