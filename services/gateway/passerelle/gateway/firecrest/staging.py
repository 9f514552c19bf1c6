"""A system's preferred staging method as FirecREST v2 shows it in `/status/systems`; secrets never."""

from typing import Any, Literal

from typing_extensions import TypedDict

from passerelle.runtime.config import plugins
from passerelle.runtime.config.sections import Plugin

_GROUP = "passerelle.staging"
_HIDDEN = "**********"


class MultipartReply(TypedDict):
    """How files are cut for an object store; sizes in bytes."""

    use_split: bool
    max_part_size: int
    parallel_runs: int
    tmp_folder: str


class LifecycleReply(TypedDict):
    """How long objects live."""

    days: int


class S3Reply(TypedDict):
    """Staging through an object store; `ttl` of presigned URLs in s."""

    serviceType: Literal["s3"]
    name: str
    privateUrl: str
    publicUrl: str
    accessKeyId: str
    secretAccessKey: str
    region: str
    ttl: int
    tenant: str | None
    multipart: MultipartReply
    bucketLifecycleConfiguration: LifecycleReply


class StreamerReply(TypedDict):
    """Straight to or from a job; `waitTimeout` in s, `inboundTransferLimit` in bytes."""

    serviceType: Literal["streamer"]
    pypiIndexUrl: str | None
    host: str | None
    portRange: list[int]
    publicIps: list[str] | None
    waitTimeout: int
    inboundTransferLimit: int


class WormholeReply(TypedDict):
    """By magic-wormhole."""

    serviceType: Literal["wormhole"]
    pypiIndexUrl: str | None


StagingReply = S3Reply | StreamerReply | WormholeReply


def staging_reply(methods: tuple[Plugin, ...]) -> StagingReply | None:
    """The first of the methods that FirecREST knows; None without one."""
    for chosen in methods:
        if chosen.type in _REPLIES:
            return _REPLIES[chosen.type](_options(chosen))
    return None


def _options(chosen: Plugin) -> dict[str, Any]:
    """The plugin's options as they stand in the file, with its defaults for the others: no file of a secret is read."""
    fields = plugins.load(_GROUP, chosen.type).Options.model_fields
    return {name: chosen.options.get(name, field.default) for name, field in fields.items()}


def _s3(options: dict[str, Any]) -> StagingReply:
    return S3Reply(
        serviceType="s3",
        name="s3",
        privateUrl=_HIDDEN,
        publicUrl=options["public_url"] or options["private_url"],
        accessKeyId=_HIDDEN,
        secretAccessKey=_HIDDEN,
        region=options["region"],
        ttl=options["ttl"],
        tenant=options["tenant"],
        multipart=MultipartReply(
            use_split=False,
            max_part_size=options["part_size"],
            parallel_runs=options["parallel"],
            tmp_folder="",
        ),
        bucketLifecycleConfiguration=LifecycleReply(days=options["lifecycle_days"]),
    )


def _streamer(options: dict[str, Any]) -> StagingReply:
    return StreamerReply(
        serviceType="streamer",
        pypiIndexUrl=None,
        host=options["host"],
        portRange=list(options["port_range"]),
        publicIps=list(options["public_ips"]),
        waitTimeout=options["wait_timeout"],
        inboundTransferLimit=options["inbound_transfer_limit"],
    )


def _wormhole(options: dict[str, Any]) -> StagingReply:
    return WormholeReply(serviceType="wormhole", pypiIndexUrl=None)


_REPLIES = {"s3": _s3, "streamer": _streamer, "wormhole": _wormhole}
