"""One service of a site, with everything every service has around its own RPCs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from passerelle.runtime.config.services import Endpoint
from passerelle.runtime.config.site import SiteBase
from passerelle.runtime.metrics import serving_metrics
from passerelle.runtime.pipeline.grace import Grace
from passerelle.runtime.pipeline.interceptors import Pipeline
from passerelle.runtime.pipeline.limits import CallLimits
from passerelle.runtime.pipeline.stages import Authority, authorise, in_time, map_errors, observe
from passerelle.runtime.serving import sockets
from passerelle.runtime.serving.server import Register, serving


@asynccontextmanager
async def running_service(
    site: SiteBase, name: str, register: Register, authority: Authority
) -> AsyncIterator[int]:
    """Serve what `register` adds at the address of the site's service `name`.

    Yields the bound port. Raises LookupError when the site gives the service no address or no secret, ConfigError when
    a port of it is taken.
    """
    endpoint: Endpoint | None = getattr(site.services, name)
    secret = site.services.secret
    if endpoint is None or not endpoint.bind or secret is None:
        raise LookupError(f"services.{name}.address and services.secret must be configured")
    for key, address in endpoint.listen_addresses(f"services.{name}"):
        sockets.require_free(key, address)
    grace = Grace(site.services.upload_grace, site.services.answer_grace)
    limits = CallLimits(
        open_per_user=site.services.open_calls_per_user,
        per_user=site.services.calls_per_user,
        per_client=site.services.calls_per_client,
    )
    judge = authorise(authority, secret.get_secret_value(), grace, limits)
    pipeline = Pipeline([observe, map_errors, in_time(site.services.request_timeout), judge])
    with serving_metrics(endpoint.metrics):
        reflect = site.services.reflection
        async with serving(register, [pipeline], endpoint.bind, reflect=reflect) as port:
            yield port
