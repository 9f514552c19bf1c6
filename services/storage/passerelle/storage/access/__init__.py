"""How the files of one system are reached as the current caller: by operations of the helper, and over SFTP."""
