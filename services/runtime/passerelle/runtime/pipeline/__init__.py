"""The stages around every RPC: logs, errors, authentication, authorisation, limits, the audit log."""
