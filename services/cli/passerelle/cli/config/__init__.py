"""`passerelle config check`, `config reference` and `config scopes`."""
