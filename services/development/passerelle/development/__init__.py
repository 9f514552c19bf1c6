"""An identity provider and an SSH server for trying Passerelle out; both refuse any address but loopback.

Nothing that serves a real site imports this package. May import: the ground that all services share.
"""
