"""FirecREST v2's `/filesystem`: `ops` and `transfer`."""
