"""The helper: the table of its operations, and the loop that reads requests and sends answers."""
