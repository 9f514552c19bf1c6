"""The files of one system, as the current caller: reading, writing, uploads, archives, trees."""
