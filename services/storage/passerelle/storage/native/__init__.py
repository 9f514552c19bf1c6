"""The native API of storage: files, archives, uploads, transfers."""
