"""FirecREST v2's `/compute`, and the part of `/status` that schedulers answer."""
