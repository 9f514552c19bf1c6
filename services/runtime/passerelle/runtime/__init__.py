"""The foundation of all services: errors, the caller, commands as data, metrics, limits.

The modules here import none of the folders below; of those, each imports only the ones before it: `config`, `ssh`,
`pipeline`, `serving`.
"""
