"""The one configuration file: reading it, checking it, trying it, and the plugins that it names."""
