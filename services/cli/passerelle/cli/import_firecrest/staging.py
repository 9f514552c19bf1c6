"""FirecREST's `data_transfer` becomes a staging method.

The keys are those of FirecREST 2.6 (src/firecrest/config.py: S3DataTransfer, StreamerDataTransfer,
WormholeDataTransfer), and those of `storage`, as releases before 2.4 called S3.
"""

from typing import Any

from passerelle.cli.import_firecrest.part import Part

_NO_DOWNLOAD = "jobs bring their programs along and download nothing"
_NOT_SPLIT = "jobs send parts straight from the file, without copies of them"


def staging(part: Part) -> list[dict[str, Any]]:
    """The staging methods that `part` describes: one, or none with a note for a kind that nobody knows."""
    kind = str(part.take("service_type", "?"))
    if kind not in _KINDS:
        part.note(f"not carried over: there is no staging method {kind}")
        return []
    options = _KINDS[kind](part)
    part.end()
    return [{"type": kind, **({"options": options} if options else {})}]


def former_staging(part: Part) -> list[dict[str, Any]]:
    """The same for what earlier releases said under `storage`, which may lack a store."""
    return [{"type": "s3", "options": _s3(part)}] if "private_url" in part else []


def _s3(part: Part) -> dict[str, Any]:
    options = part.rename(
        private_url="private_url",
        public_url="public_url",
        access_key_id="access_key_id",
        region="region",
        ttl="ttl",
        tenant="tenant",
    )
    options["secret_access_key"] = part.secret("secret_access_key")
    part.take("name")
    multipart = part.part("multipart")
    options |= multipart.rename(part_size="max_part_size", parallel="parallel_runs")
    for name in ("use_split", "tmp_folder"):
        multipart.leave(name, _NOT_SPLIT)
    multipart.end()
    lifecycle = part.part("bucket_lifecycle_configuration")
    options |= lifecycle.rename(lifecycle_days="days")
    lifecycle.end()
    return options


def _streamer(part: Part) -> dict[str, Any]:
    part.leave("pypi_index_url", _NO_DOWNLOAD)
    return part.rename(
        host="host",
        port_range="port_range",
        public_ips="public_ips",
        wait_timeout="wait_timeout",
        inbound_transfer_limit="inbound_transfer_limit",
    )


def _wormhole(part: Part) -> dict[str, Any]:
    part.leave("pypi_index_url", _NO_DOWNLOAD)
    return {}


_KINDS = {"s3": _s3, "streamer": _streamer, "wormhole": _wormhole}
