"""Ways for bulk data that do not pass the gateway: the port of staging methods, and what all of them share.

Each method has a folder with its options, its job's program and its wire form in both APIs. What is done after
transfers by any of them is here, too.
"""
