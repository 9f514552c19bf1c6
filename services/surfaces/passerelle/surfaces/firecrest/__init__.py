"""FirecREST v2's REST API: its registration, how its errors look, and what its adapters share.

The rules are those of the FirecREST v2 contract (snapshot 2.5.7-OPEN, recorded on real systems);
`docs/firecrest-profile.md` tells where we differ on purpose. Each service has its adapters in its folder `firecrest`.
"""

from passerelle.surfaces.firecrest.surface import Firecrest as Firecrest
