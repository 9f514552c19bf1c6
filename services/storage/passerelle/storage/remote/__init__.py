"""What runs on the systems, sent there by `shipping.py`: Python 3.6 or newer and its standard library, nothing else.

Its modules import each other by their full names and nothing of ours outside of this package. They answer file
questions over stdin and stdout, for one user, as long as the channel lives; see `frames.py` for the conversation.

Paths are bytes inside, so that no locale can spoil them; in JSON they are text.
"""
