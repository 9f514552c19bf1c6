"""The native API of the gateway, `passerelle.v1.SystemsService`."""
