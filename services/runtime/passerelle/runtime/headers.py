"""The names of headers, trailers and metadata: those between our own processes and Envoy, and some of HTTP.

No other module writes these names, and `envoy.lua` gets them from here. Envoy removes headers that begin with
`PRIVATE_PREFIX` from every request before it sets its own, so clients cannot set them.
"""

PRIVATE_PREFIX = "x-passerelle-"

REST = "x-passerelle-rest"
"""On requests that Envoy transcodes, so that errors carry their JSON body."""
HEAD = "x-passerelle-head"
"""On requests that came as HEAD: only the headers of the answer are sent."""
BODY_LENGTH = "x-passerelle-body-length"
"""On requests that Envoy transcodes, and whose client has announced how many bytes their body has: that number."""
CLIENT_ADDRESS = "x-passerelle-client"
"""On every request: the client's address."""
ASKED_ID = "x-passerelle-asked"
"""The request id that the client sent, until Envoy has checked it."""
SUBJECT = "x-passerelle-subject"
"""On calls of our own services: the caller's subject, by which gRPC chooses the worker."""
SERVICE_SECRET = "x-passerelle-service"  # noqa: S105  # the name of a metadata key, no secret
"""On calls of our own services: the secret that they share."""

HTTP_STATUS = "x-http-code"
"""The HTTP status of an answer, where the gRPC status does not say it."""
ERROR_BODY = "x-error-body"
"""The JSON body of an error, in ASCII."""
STREAM_LENGTH = "x-content-length"
"""The length of a stream that knows its own, in bytes: Envoy's transcoder drops `content-length`."""

REQUEST_ID = "x-request-id"
CORRELATION_ID = "x-correlation-id"
RETRY_AFTER = "retry-after"
CHALLENGE = "www-authenticate"
RATE_POLICY = "ratelimit-policy"
