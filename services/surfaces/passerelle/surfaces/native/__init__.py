"""Our own API, `/v1` and `passerelle.v1`: its registration, and how its errors look."""

from passerelle.surfaces.native.surface import Native as Native
