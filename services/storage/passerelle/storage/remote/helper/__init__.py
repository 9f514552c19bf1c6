"""The helper itself: the table of its operations, and the conversation in which it is asked for them."""
