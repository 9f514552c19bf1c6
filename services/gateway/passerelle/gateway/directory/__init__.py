"""The directory of systems: their configuration, and the results of the last health checks.

May import: none of the gateway's other folders.
"""
