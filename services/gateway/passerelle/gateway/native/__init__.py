"""The native API of the gateway, `passerelle.v1.SystemsService`.

May import: `gateway.directory`.
"""
