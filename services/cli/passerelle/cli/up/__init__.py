"""`passerelle up` and `passerelle serve`: the processes of a site on one machine."""
