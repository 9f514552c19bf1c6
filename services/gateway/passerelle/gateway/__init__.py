"""The entrance of a site: the directory of its systems, their health, and Envoy's configuration.

`contracts` reads what the contracts say of each RPC, `config` is the section of the configuration file, `main` puts the
gateway's own process together. May import: none of its own folders, which import these.
"""
