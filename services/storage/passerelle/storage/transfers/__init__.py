"""Copies of files from one system to another, and what is done after transfers."""
