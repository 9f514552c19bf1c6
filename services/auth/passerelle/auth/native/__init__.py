"""The internal API of auth, `passerelle.v1.AuthService`."""
