"""An identity provider and an SSH server for trying Passerelle out; both refuse any address but loopback."""
