"""A staging method of a site's own, as docs/plugins.md describes it."""
