"""Serves the issuers' keys to Envoy, which verifies most tokens itself; auth alone reads them from the issuers."""

from collections.abc import Sequence
from typing import Any

import grpc
import orjson
from google.api.httpbody_pb2 import HttpBody

from passerelle.auth.tokens.jwks import jwk_set
from passerelle.auth.tokens.keyset import KeySet
from passerelle.edge import keys_pb2 as pb
from passerelle.edge import keys_pb2_grpc as pb_grpc


class KeysService(pb_grpc.KeysServicer):
    """The public keys of each configured issuer, by its number in the configuration."""

    def __init__(self, issuers: Sequence[KeySet]) -> None:
        self._issuers = issuers

    async def GetKeys(self, request: pb.GetKeysRequest, context: Any) -> HttpBody:
        """The JWK set of one issuer."""
        if request.issuer >= len(self._issuers):
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such issuer.")
        keys = self._issuers[request.issuer].keys
        if not keys:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Its keys are not known.")
        return HttpBody(content_type="application/json", data=orjson.dumps(jwk_set(keys)))
