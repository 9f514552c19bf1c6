"""The directory of systems: what the configuration says of them, and what the last health checks found.

May import: none of the gateway's other folders.
"""
