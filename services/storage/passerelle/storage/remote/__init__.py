"""What runs on the systems, sent there by `shipping.py`: Python 3.6 or newer and its standard library, nothing else.

Its modules import each other by their full names, and no other module of ours. The helper runs operations on files for
one user until its channel closes; requests come on stdin, replies go to stdout. `frames.py` describes the protocol.

Paths are bytes in these programs, because the locale of a system may not be able to decode them. In JSON they are text.
"""
