"""Access to the files of one system as the current caller: by operations of the helper, and over SFTP."""
