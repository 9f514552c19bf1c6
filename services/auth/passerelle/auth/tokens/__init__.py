"""Access tokens: which issuers are trusted, their keys, the validation of a token, and the principal that it names.

Imports no other folder of auth.
"""
