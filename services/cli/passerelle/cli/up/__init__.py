"""`passerelle up`, `serve` and `token`: the processes of a site on one machine.

`run` is one run of a site, `serve` one of its processes, `supervisor` what keeps them alive. `embedded` is the site
that is served when no configuration file is given.

May import: the gateway's section of the configuration, its certificates and Envoy's configuration; no other service,
because each is started by the name of its entry point.
"""
