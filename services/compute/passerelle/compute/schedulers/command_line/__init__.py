"""What schedulers with a command line have in common: a plugin adds tables, commands and parsers, and no I/O.

Here belongs what a second batch system needs as well. It knows the port, and no scheduler by name.
"""
