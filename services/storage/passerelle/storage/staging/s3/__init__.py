"""Staging through an S3 object store."""
