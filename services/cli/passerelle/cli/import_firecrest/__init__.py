"""`passerelle config import-firecrest`: a FirecREST v2 configuration becomes ours."""
