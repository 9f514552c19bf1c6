"""Authentication, authorisation, and credentials for the systems.

`policy` and `logins` are the two decisions of this service; `config` is its section of the configuration file, `main`
puts the parts together. May import: its own folders `tokens`, `authorizers` and `credentials`, which import nothing of
`policy`, `logins` and `config`.
"""
