"""`passerelle config check --connect`: a site tried from outside to inside."""
