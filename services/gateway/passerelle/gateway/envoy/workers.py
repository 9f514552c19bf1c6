"""How Envoy chooses a worker of a service: each caller has one, and another one while that is down."""

from typing import Any

from passerelle.gateway.contracts import Method

Json = dict[str, Any]

SUBJECT = "passerelle.subject"
"""The filter state that has the `sub` of a token which Envoy verified."""

BY_CALLER: list[Json] = [
    {"filter_state": {"key": SUBJECT}, "terminal": True},
    {"header": {"header_name": "authorization"}},
]
"""The `hash_policy` of routes: by the caller's subject, or by the token where Envoy did not verify it."""

_TRIES = 64  # places of the ring that are looked at for a worker that was not tried yet

ANOTHER_WORKER: Json = {
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": _TRIES,
}
"""For a retry policy: each attempt goes to a worker that was not tried yet, while there is one."""

# When the connection fails or the stream is refused, the service has seen nothing of the request, so it can be sent
# again, whatever it does: to another worker at once. A service that restarts is back within the sum of these pauses
# (8 s on average; they are random).
_UNSEEN: Json = {
    "retry_on": "connect-failure,refused-stream",
    "num_retries": 21,
    "retry_back_off": {"base_interval": "0.025s", "max_interval": "1s"},
    **ANOTHER_WORKER,
}

# A request on which a worker may have begun before it died is sent again only if it changes nothing. It is sent again
# twice at most, since a request that kills its worker must not kill all of them.
_UNANSWERED: Json = {**_UNSEEN, "retry_on": f"{_UNSEEN['retry_on']},reset", "num_retries": 2}


def retries(method: Method, workers: int) -> Json:
    """The retry policy of a method that so many workers serve."""
    repeatable = method.reads and not method.streams and workers > 1
    return _UNANSWERED if repeatable else _UNSEEN
