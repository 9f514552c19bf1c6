"""The APIs that are spoken here, a folder each: how errors, statuses and headers look. Imports runtime alone."""
