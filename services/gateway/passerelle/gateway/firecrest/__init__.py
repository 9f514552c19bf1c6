"""FirecREST v2's `/status/systems` and `/status/liveness/`.

May import: `gateway.directory`.
"""
