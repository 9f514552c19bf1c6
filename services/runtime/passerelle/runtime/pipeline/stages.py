"""The stages around every RPC, outermost first: observe, map errors, bound in time, authenticate and authorise.

grpc runs each call in a task of its own, so what a stage binds to the context (`caller`, `log_fields`) is bound for
this call alone, and needs no undoing.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

import grpc

from passerelle.runtime import caller, log_fields
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import (
    ApiError,
    DeadlineExceeded,
    Forbidden,
    Unauthenticated,
    Unsupported,
)
from passerelle.runtime.headers import ERROR_BODY, HTTP_STATUS, REQUEST_ID, REST, SERVICE_SECRET
from passerelle.runtime.metrics import RPC_SECONDS, RPCS, RPCS_OPEN
from passerelle.runtime.pipeline import audit
from passerelle.runtime.pipeline.access import broken_off
from passerelle.runtime.pipeline.grace import Grace, ending_at
from passerelle.runtime.pipeline.interceptors import Proceed, Stage
from passerelle.runtime.pipeline.limits import CallLimits
from passerelle.runtime.pipeline.rpc import Rpc, not_arrived
from passerelle.v1.access_pb2 import Access

log = logging.getLogger(__name__)

_GRACE = Grace()
_NO_LIMITS = CallLimits()

# `labels` takes a lock and looks its arguments up at each call; there are as many answers as methods and codes.
_answered = cache(RPCS.labels)
_open = cache(RPCS_OPEN.labels)
_seconds = cache(RPC_SECONDS.labels)


class Authority(Protocol):
    """Decides who a token stands for, and whether that principal may call an RPC."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        """The caller; raises Unauthenticated or Forbidden."""
        ...


async def observe(rpc: Rpc, proceed: Proceed) -> Any:
    """The stage that binds the request id, counts, times and logs the call, and writes its line of the audit log."""
    start = time.perf_counter()
    code = "OK"
    request_id = rpc.metadata.get(REQUEST_ID, "")
    if request_id:
        rpc.fields.logged["request_id"] = request_id
    caller.begin_request(request_id)
    log_fields.begin(rpc.fields)
    open_calls = _open(rpc.method.name)
    open_calls.inc()
    try:
        return await proceed(rpc)
    except asyncio.CancelledError:
        code = "CANCELLED"
        raise
    except BaseException:
        code = _code_name(rpc.context)
        raise
    finally:
        open_calls.dec()
        if rpc.error:
            code = rpc.error.code.name
        _record(rpc, code, time.perf_counter() - start)
        audit.write(rpc, code)


def _record(rpc: Rpc, code: str, seconds: float) -> None:
    _answered(rpc.method.name, code).inc()
    _seconds(rpc.method.name).observe(seconds)
    # Calls without a caller that succeed are those of our own services and of load balancers.
    level = logging.DEBUG if code == "OK" and rpc.caller is None else logging.INFO
    if log.isEnabledFor(level):
        extra = {"method": rpc.method.name, "code": code, "seconds": round(seconds, 4)}
        log.log(level, "answered", extra=extra)


def _code_name(context: Any) -> str:
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else grpc.StatusCode(code).name


async def map_errors(rpc: Rpc, proceed: Proceed) -> Any:
    """The only place where an exception becomes a wire status."""
    try:
        return await proceed(rpc)
    except ApiError as error:
        await _abort(rpc, error)
    except grpc.aio.AbortError:
        raise
    except NotImplementedError:  # what the generated servicers raise for a method that nobody wrote
        await _abort(rpc, Unsupported(f"{rpc.method.name} is not implemented."))
    except Exception:
        log.exception("unhandled error in %s", rpc.method.name)
        await _abort(rpc, ApiError("Internal error."))


async def _abort(rpc: Rpc, raised: ApiError) -> None:
    rpc.error = raised  # for the logs, whatever the caller is shown
    error = rpc.method.surface.shown(raised)
    status = error.status()
    rest = rpc.metadata.get(REST)
    if rest and rpc.begun:  # the HTTP status is sent already
        await rpc.context.write(broken_off(rpc.method.name, error))
        return
    trailers = _rest_trailers(rpc, error) if rest else error.trailers
    await rpc.context.abort(status.code, status.details, trailers)


def _rest_trailers(rpc: Rpc, error: ApiError) -> tuple[tuple[str, str], ...]:
    """What Envoy's Lua filter turns into the HTTP status, headers and JSON body."""
    answer = rpc.method.surface.answer(error, rpc.user)
    headers = {HTTP_STATUS: str(answer.status), ERROR_BODY: answer.text}
    return (*headers.items(), *error.headers.items(), *answer.headers.items())


def in_time(limit: float) -> Stage:
    """The stage that bounds a call without streams to `limit`, in seconds; of one with streams, its first message.

    No call that is answered once outlives its client's deadline either. What it started is cancelled.
    """

    async def stage(rpc: Rpc, proceed: Proceed) -> Any:
        streams = rpc.method.takes_stream or rpc.method.gives_stream
        if streams:
            rpc.requests.limit = limit
        if rpc.method.gives_stream:
            return await proceed(rpc)
        seconds = rpc.context.time_remaining()
        if not streams and (seconds is None or seconds > limit):
            seconds = limit
        try:
            async with asyncio.timeout(seconds):
                return await proceed(rpc)
        except TimeoutError:
            raise _overdue(rpc, seconds) from None

    return stage


def _overdue(rpc: Rpc, seconds: float) -> ApiError:
    if not rpc.requests.arrived:
        return not_arrived()
    return DeadlineExceeded(f"The request took longer than {seconds:.0f} s.")


def authorise(
    authority: Authority,
    service_secret: str,
    grace: Grace = _GRACE,
    limits: CallLimits = _NO_LIMITS,
) -> Stage:
    """The stage that enforces the RPC's `access` option, and binds the caller.

    A caller without a valid token or without the scope, or with too many calls, is refused by the metadata, before any
    message is read. A stream that outlives its token by more than `grace` ends with Unauthenticated.
    """

    async def stage(rpc: Rpc, proceed: Proceed) -> Any:
        access = rpc.method.access
        if access.audience == Access.PUBLIC:
            return await proceed(rpc)
        if access.audience == Access.INTERNAL:
            _require_secret(rpc, service_secret)
            rpc.trusted = True
            return await proceed(rpc)
        token = bearer(rpc.metadata)
        principal = await authority.caller(token, access=access.headers, system="")
        rpc.caller = principal
        rpc.fields.logged.update(principal.log_fields)
        caller.begin(principal)
        with limits.one_call(principal):
            request = await rpc.requests.first()
            rpc.method.named.note(request, rpc.fields)
            for needed, system in access.of_systems(request):
                await authority.caller(token, access=needed, system=system)
            del request  # the first piece of an upload that waits is kept once, by who needs it
            if not (
                rpc.method.takes_stream or rpc.method.gives_stream
            ):  # it has a bound of its own
                return await proceed(rpc)
            rpc.requests.until = principal.expires + grace.sending
            async with ending_at(principal.expires + grace.answered):
                return await proceed(rpc)

    return stage


def _require_secret(rpc: Rpc, service_secret: str) -> None:
    shown = rpc.metadata.get(SERVICE_SECRET, "")
    if not service_secret or not hmac.compare_digest(shown.encode(), service_secret.encode()):
        raise Forbidden("This method is for Passerelle's own services.")


def bearer(metadata: Mapping[str, str]) -> str:
    """The access token that a request shows (RFC 6750 §2.1); raises Unauthenticated without one."""
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated.without_token()
    return token.strip()
