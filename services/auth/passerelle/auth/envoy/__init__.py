"""The services that Envoy calls: `ext_authz`, the keys of the issuers, and the access log of rejected requests.

May import: `auth.tokens`, which validates tokens, and the contracts between Envoy and us (`passerelle.edge`).
"""
