"""Converts FirecREST's `data_transfer` into a staging method.

The keys are those of FirecREST 2.6 (src/firecrest/config.py: S3DataTransfer, StreamerDataTransfer,
WormholeDataTransfer), and those of `storage`, where releases before 2.4 had S3.
"""

from typing import Any

from passerelle.cli.import_firecrest.section_reader import SectionReader

_NO_DOWNLOAD = "jobs bring their programs along and download nothing"
_NOT_SPLIT = "jobs send parts straight from the file, without copies of them"


def staging(section: SectionReader) -> list[dict[str, Any]]:
    """The staging methods that `section` describes: one; none, and a note, for an unknown kind."""
    kind = str(section.take("service_type", "?"))
    if kind not in _KINDS:
        section.note(f"not carried over: there is no staging method {kind}")
        return []
    options = _KINDS[kind](section)
    section.finish()
    return [{"type": kind, **({"options": options} if options else {})}]


def former_staging(section: SectionReader) -> list[dict[str, Any]]:
    """The same for `storage` of earlier releases, which may name no store."""
    return [{"type": "s3", "options": _s3(section)}] if "private_url" in section else []


def _s3(section: SectionReader) -> dict[str, Any]:
    options = section.rename(
        private_url="private_url",
        public_url="public_url",
        access_key_id="access_key_id",
        region="region",
        ttl="ttl",
        tenant="tenant",
    )
    options["secret_access_key"] = section.secret("secret_access_key")
    section.take("name")
    multipart = section.section("multipart")
    options |= multipart.rename(part_size="max_part_size", parallel="parallel_runs")
    for name in ("use_split", "tmp_folder"):
        multipart.drop(name, _NOT_SPLIT)
    multipart.finish()
    lifecycle = section.section("bucket_lifecycle_configuration")
    options |= lifecycle.rename(lifecycle_days="days")
    lifecycle.finish()
    return options


def _streamer(section: SectionReader) -> dict[str, Any]:
    section.drop("pypi_index_url", _NO_DOWNLOAD)
    return section.rename(
        host="host",
        port_range="port_range",
        public_ips="public_ips",
        wait_timeout="wait_timeout",
        inbound_transfer_limit="inbound_transfer_limit",
    )


def _wormhole(section: SectionReader) -> dict[str, Any]:
    section.drop("pypi_index_url", _NO_DOWNLOAD)
    return {}


_KINDS = {"s3": _s3, "streamer": _streamer, "wormhole": _wormhole}
