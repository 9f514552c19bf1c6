"""The operator's command, `passerelle`: `main` has its commands, and each folder what one of them does.

May import: the ground that all services share, and of the services only the gateway.
"""
