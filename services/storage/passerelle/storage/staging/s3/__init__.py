"""Staging through an S3 object store. Only `store.py` knows the S3 library."""
