"""Programs of transfer jobs: they run on the systems (Python 3.6 and newer, standard library only), shipped by
`storage.shipping`, the module `job` first."""
