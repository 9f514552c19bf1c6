"""OpenAPI: documents made from contracts when surfaces are built, and the one document of all that are installed.

May import: the runtime's `surface`, and `gateway.contracts`. What its methods' bodies are, a surface says itself.
"""
