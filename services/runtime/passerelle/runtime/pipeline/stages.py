"""The stages around every RPC, outermost first: observe, map errors, authenticate and authorise."""

import asyncio
import hmac
import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

import grpc

from passerelle.runtime import caller, log_fields
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import ApiError, Forbidden, Unauthenticated, Unsupported
from passerelle.runtime.headers import ERROR_BODY, HTTP_STATUS, REQUEST_ID, REST, SERVICE_SECRET
from passerelle.runtime.metrics import RPC_SECONDS, RPCS, RPCS_OPEN
from passerelle.runtime.pipeline import audit
from passerelle.runtime.pipeline.access import access_to_others, broken_off, system_of
from passerelle.runtime.pipeline.grace import Grace, ending_at
from passerelle.runtime.pipeline.interceptors import Proceed, Rpc, Stage
from passerelle.runtime.pipeline.limits import CallLimits
from passerelle.v1.access_pb2 import Access

log = logging.getLogger(__name__)

_GRACE = Grace()
_NO_LIMITS = CallLimits()


class Authority(Protocol):
    """Decides who a token stands for, and whether that principal may call an RPC."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        """The caller; raises Unauthenticated or Forbidden."""
        ...


async def observe(rpc: Rpc, proceed: Proceed) -> Any:
    """Bind the request id, count, time, log, and write the audit log."""
    start = time.perf_counter()
    code = "OK"
    request_id = rpc.metadata.get(REQUEST_ID, "")
    if request_id:
        rpc.fields.logged["request_id"] = request_id
    with (
        caller.bind_request(request_id),
        log_fields.of_call(rpc.fields),
        RPCS_OPEN.labels(rpc.method).track_inprogress(),
    ):
        try:
            return await proceed()
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except BaseException:
            code = _code_name(rpc.context)
            raise
        finally:
            if rpc.error:
                code = rpc.error.code.name
            _record(rpc, code, time.perf_counter() - start)
            audit.write(rpc, code)


def _record(rpc: Rpc, code: str, seconds: float) -> None:
    RPCS.labels(rpc.method, code).inc()
    RPC_SECONDS.labels(rpc.method).observe(seconds)
    # What goes well without a caller is our own services' asking, or a load balancer's.
    level = logging.DEBUG if code == "OK" and rpc.caller is None else logging.INFO
    if log.isEnabledFor(level):
        extra = {"method": rpc.method, "code": code, "seconds": round(seconds, 4)}
        log.log(level, "answered", extra=extra)


def _code_name(context: Any) -> str:
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else grpc.StatusCode(code).name


async def map_errors(rpc: Rpc, proceed: Proceed) -> Any:
    """The only place where an exception becomes a wire status."""
    try:
        return await proceed()
    except ApiError as error:
        await _abort(rpc, error)
    except grpc.aio.AbortError:
        raise
    except NotImplementedError:  # what the generated servicers raise for a method that nobody wrote
        await _abort(rpc, Unsupported(f"{rpc.method} is not implemented."))
    except Exception:
        log.exception("unhandled error in %s", rpc.method)
        await _abort(rpc, ApiError("Internal error."))


async def _abort(rpc: Rpc, raised: ApiError) -> None:
    rpc.error = raised  # for the logs, whatever the caller is shown
    error = rpc.surface.shown(raised)
    status = error.status()
    rest = rpc.metadata.get(REST)
    if rest and rpc.begun:  # the HTTP status is sent already
        await rpc.context.write(broken_off(rpc.method, error))
        return
    trailers = _rest_trailers(rpc, error) if rest else error.trailers
    await rpc.context.abort(status.code, status.details, trailers)


def _rest_trailers(rpc: Rpc, error: ApiError) -> tuple[tuple[str, str], ...]:
    """What Envoy's Lua filter turns into the HTTP status, headers and JSON body."""
    answer = rpc.surface.answer(error, rpc.user)
    said = {HTTP_STATUS: str(answer.status), ERROR_BODY: answer.text}
    return (*said.items(), *error.headers.items(), *answer.headers.items())


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
        match rpc.access.audience:
            case Access.PUBLIC:
                return await proceed()
            case Access.INTERNAL:
                _require_secret(rpc, service_secret)
                rpc.trusted = True
                return await proceed()
        token = bearer(rpc.metadata)
        headers_alone = Access(audience=Access.USER, scope=rpc.access.scope)
        principal = await authority.caller(token, access=headers_alone, system="")
        rpc.caller = principal
        log_fields.bind(**principal.log_fields)
        with limits.one_call(principal), caller.bind(principal):
            request = await rpc.requests.first()
            audit.bind_named(request, rpc.surface)
            await authority.caller(token, access=rpc.access, system=system_of(request))
            for access, other in access_to_others(rpc.access, request):
                await authority.caller(token, access=access, system=other)
            del request  # the first piece of an upload that waits is kept once, by who needs it
            if not rpc.streams:  # it has a bound of its own
                return await proceed()
            rpc.requests.until = principal.expires + grace.sending
            async with ending_at(principal.expires + grace.answered):
                return await proceed()

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
