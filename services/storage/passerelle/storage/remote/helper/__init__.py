"""The helper: the loop that reads requests, has the registered operations answer them, and sends the answers."""
