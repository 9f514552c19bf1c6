"""Staging methods, which move bulk data without the gateway: their port, and code that they share.

Each method has a folder with its options, its job's program and its wire form in both APIs. Tidying up after transfers
of all methods is here, too.
"""
