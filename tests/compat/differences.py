"""Where Passerelle answers otherwise than the recorded FirecREST v2, on purpose.

Each reason stands with its cases in docs/firecrest-profile.md; a test compares the two.
`python -m tests.compat.differences` prints the table for that page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.compat.tree import DIR, RECORDED

Json = Any

REASONS = {
    "quoting": "A path, file name or job name is data: quotes in it are neither an error nor a way into the shell.",
    "nul": "A NUL byte can be in no path: the caller's mistake (400), not a failed connection (424).",
    "scheduler-refusal": "What a scheduler refuses is the caller's mistake: 400 in its own words, not 500.",
    "listed-ids": "Every id that a list gives out can be asked for: a task of an array, `8_1`, a component, `372+0`.",
    "cancelled": "A job that was cancelled is `CANCELLED`, whoever tells; `killRequestUser` has who did it.",
    "missing-job": "A job that does not exist, or an id that cannot exist, is 404 (400 if malformed), not 500.",
    "foreign-job": "Another user's job may not be touched: 403, not 500.",
    "validation": "A wrong or missing field is 400 and names the field; neither 500 nor a hang.",
    "environment": "Lists of KEY=VALUE are accepted for `env`, and a value keeps its commas.",
    "file-kind": "The wrong kind of file (a directory, no directory) is the caller's mistake: 400, not 500.",
    "file-size": "Downloads work up to max_ops_file_size and answer 413 above it.",
    "link-path": "A symbolic link, not only what it points to, has to be inside the filesystems: else 400.",
    "upload-name": "An uploaded file's name cannot lead out of its directory: 400.",
    "unreachable": "A system that cannot be reached is 424, not 500.",
    "no-credentials": "A user without SSH credentials for a system may not use it: 403, not 500.",
    "request-id": "Any text is accepted as X-Request-ID and X-Correlation-ID, as pyfirecrest documents.",
    "userinfo-2.6": "Replies have the fields of FirecREST 2.6 too: `groups[].default`.",
    "node-sizes": "`cores` and `threads` of a node are its cores and threads, not its sockets once more.",
    "documentation": "The documentation page is Passerelle's own, with nothing loaded from other servers.",
    "root": "`GET /` leads to the documentation: a redirect for browsers, its path as JSON for others; not 404.",
    "not-an-archive": "Unpacking what is no archive is the caller's mistake: 400, not 500.",
    "last-check": "A system whose health nobody checks has no last check.",
    "no-content-type": "A JSON body without `Content-Type` is read as JSON: pyfirecrest before 3.7.1 sends none.",
    "default-account": "A transfer job that needs an account and is given none takes the user's default one.",
    "names": "Names keep their characters: listings have no octal escapes, job names no question marks.",
}


class _Anything:
    """Equal to every reply."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Difference:
    """What is expected in place of the recorded reply; a field left out is not compared.

    Headers are compared only where the status is the recorded one.
    """

    reason: str
    """Key of REASONS."""
    status: int | None = None
    """None for the recorded one."""
    says: str | None = None
    """Text that the error's message holds."""
    field: str | None = None
    """The field that a validation error names."""
    body: Json = None
    """The whole reply in comparable form; None where nothing is returned."""
    amend: Callable[[Json], Json] | None = None
    """Makes the expected body out of the recorded one, both in comparable form."""

    def expected(self, recorded: Json, actual: Json) -> Json:
        """The value that `actual` has to equal."""
        status = self.status or recorded["status"]
        headers = recorded["headers"] if status == recorded["status"] else actual["headers"]
        return {"status": status, "headers": headers, "body": self._body(recorded, actual)}

    def _body(self, recorded: Json, actual: Json) -> Json:
        if self.amend:
            return self.amend(recorded["body"])
        if self.says is None and self.field is None:
            return self.body
        body = actual["body"] if isinstance(actual["body"], dict) else {}
        message = body.get("message", "")
        details = {"causedBy": body.get("causedBy"), "user": body.get("user")}
        if self.field:
            named = [
                f for f in (body.get("data") or {}).get("fields", []) if f["name"] == self.field
            ]
            fields = named or [{"name": self.field}]
            return {
                "errorType": "validation",
                "message": message,
                "data": {"fields": fields},
                **details,
            }
        text = message if str(self.says) in str(message) else f"... {self.says} ..."
        return {"errorType": "error", "message": text, "data": None, **details}


ANYTHING = _Anything()


def _refused(words: str) -> Difference:
    return Difference("scheduler-refusal", 400, says=words)


def _file(name: str, size: str) -> Json:
    return {
        "name": name,
        "type": "-",
        "linkTarget": None,
        "user": "alice",
        "group": "alice",
        "permissions": "rw-r--r--",
        "lastModified": RECORDED.isoformat(),
        "size": size,
    }


def _link(name: str, target: str) -> Json:
    size = str(len(target.encode()))
    link = {"name": name, "type": "l", "linkTarget": target, "permissions": "rwxrwxrwx"}
    return _file(name, size) | link | {"lastModified": "<datetime>"}


def _content(text: str, kind: str, start: int, end: int) -> Json:
    output = {"content": text, "contentType": kind, "startPosition": start, "endPosition": end}
    return {"output": output}


def _primary_group_marked(body: Json) -> Json:
    primary = body["group"]["name"]
    groups = [group | {"default": group["name"] == primary} for group in body["groups"]]
    return body | {"groups": groups}


def _real_sizes(body: Json) -> Json:
    return {"nodes": [node | {"cores": 1, "threads": 1} for node in body["nodes"]]}


def _no_last_check(body: Json) -> Json:
    systems = [
        system
        | {"lastHealthCheck": system["lastHealthCheck"] if system["servicesHealth"] else None}
        for system in body["systems"]
    ]
    return {"systems": systems}


_REAL_NAMES = {
    "nl\\nx.txt": "nl\nx.txt",
    r"uni-\303\247\303\270-\346\227\245\346\234\254.txt": "uni-çø-日本.txt",
    "naïve-??": "naïve-日本",
}


def _real_names(body: Json) -> Json:
    return {
        key: [entry | {"name": _REAL_NAMES.get(entry["name"], entry["name"])} for entry in entries]
        for key, entries in body.items()
    }


def _cancelled(body: Json) -> Json:
    jobs = [
        job | {"status": job["status"] | {"state": "CANCELLED"}, "killRequestUser": ANYTHING}
        for job in body["jobs"]
    ]
    return {"jobs": jobs}


_QUOTED = str(DIR / "sq'.txt")
_SYSTEMS = Difference("last-check", amend=_no_last_check)
_UNREACHABLE = Difference("unreachable", 424, says="Unable to establish SSH connection.")
_NO_JOB = Difference("missing-job", 404, says="Job not found.")
_NAMES = Difference("names", amend=_real_names)
_NUL = Difference("nul", 400, body=ANYTHING)

DIFFERENCES: dict[str, Difference] = {
    "auth_lowercase_bearer_ok": _SYSTEMS,
    "auth_service_account_no_email_ok": _SYSTEMS,
    "auth_wrong_audience": _SYSTEMS,
    "request_id_header_ok": _SYSTEMS,
    "status_systems_ok": _SYSTEMS,
    "status_uppercase_path_ok": _SYSTEMS,
    "compute_jobs_allusers_ok": _NAMES,
    "compute_jobs_ok": _NAMES,
    "compute_jobs_unknown_query_ok": _NAMES,
    "compute_jobs_window_1h_ok": _NAMES,
    "fs_ls_hidden_ok": _NAMES,
    "fs_ls_ok": _NAMES,
    "fs_ls_system_unreachable": _NAMES,
    "compute_jobs_name_injection": Difference("quoting", 200, body=ANYTHING),
    "auth_user_without_ssh_key_fs": Difference("no-credentials", 403, says="carol"),
    "root_path": Difference(
        "root", 200, body={"documentation": "/docs", "openapi": "/openapi.json"}
    ),
    "docs_html": Difference("documentation", 200, body=ANYTHING),
    "request_id_header_bad": Difference("request-id", 200, body=ANYTHING),
    "status_nodes_ok": Difference("node-sizes", amend=_real_sizes),
    "status_userinfo_bob_ok": Difference("userinfo-2.6", amend=_primary_group_marked),
    "status_nodes_system_unreachable": _UNREACHABLE,
    "status_userinfo_system_unreachable": _UNREACHABLE,
    "compute_submit_system_unreachable": _UNREACHABLE,
    "compute_job_system_unreachable": _UNREACHABLE,
    "fs_ls_down_system": _UNREACHABLE,
    "compute_submit_bad_account": _refused("Invalid account or account/partition combination"),
    "compute_submit_bad_constraint": _refused("Invalid feature specification"),
    "compute_submit_bad_directive": _refused("unrecognized option '--nosuch=1'"),
    "compute_submit_bad_partition": _refused("invalid partition specified: nosuch"),
    "compute_submit_crlf_script": _refused("Batch script contains DOS line breaks"),
    "compute_submit_no_shebang": _refused("This does not look like a batch script."),
    "compute_submit_script_path_missing_file": _refused("Unable to open file"),
    "compute_submit_empty_script": Difference("validation", 400, field="job"),
    "compute_submit_env_list": Difference("environment", 201, body={"jobId": ANYTHING}),
    "compute_submit_no_content_type": Difference("no-content-type", 201, body={"jobId": ANYTHING}),
    "compute_attach_no_command": Difference("validation", 400, field="command"),
    "compute_attach_not_found": _NO_JOB,
    "compute_cancel_huge": _NO_JOB,
    "compute_cancel_letters": _NO_JOB,
    "compute_cancel_not_found": _NO_JOB,
    "compute_cancel_zero": _NO_JOB,
    "compute_job_letters": _NO_JOB,
    "compute_job_zero": _NO_JOB,
    "compute_metadata_zero": _NO_JOB,
    "compute_metadata_array_task": Difference("listed-ids", 200, body=ANYTHING),
    "compute_cancel_array_task": Difference("listed-ids", 204),
    "compute_job_array_pending_cancelled_ok": Difference("cancelled", amend=_cancelled),
    "compute_job_cancelled_ok": Difference("cancelled", amend=_cancelled),
    "compute_attach_other_user": Difference("foreign-job", 403, says="Access/permission denied"),
    "compute_cancel_other_user": Difference("foreign-job", 403, says="Access/permission denied"),
    "fs_ls_injection": Difference("quoting", 404, says="No such file or directory"),
    "fs_ls_quote_in_path": Difference("quoting", 200, body={"output": [_file(_QUOTED, "2")]}),
    "fs_head_quote_in_path": Difference(
        "quoting", 200, body=_content("q\n", "lines", start=0, end=10)
    ),
    "fs_tail_quote_in_path": Difference(
        "quoting", 200, body=_content("q\n", "lines", start=10, end=-1)
    ),
    "fs_download_quote_in_path": Difference("quoting", 200, body="q\n"),
    "fs_mkdir_err_quote_in_path": Difference("quoting", 400, says="File exists"),
    "fs_rm_err_quote_in_path": Difference("quoting", 204),
    "fs_upload_name_quote": Difference("quoting", 204),
    "fs_file_quote_in_path": Difference("quoting", 200, body={"output": "ASCII text"}),
    "fs_checksum_space_in_name": Difference(
        "quoting",
        200,
        body={
            "output": {
                "algorithm": "SHA256",
                "checksum": "cbc80bb5c0c0f8944bf73b3a429505ac5cde16644978bc9a1e74c5755f8ca556",
            }
        },
    ),
    "fs_symlink_err_quote_in_path": Difference(
        "quoting", 201, body={"output": _link("/home/alice/golden/lnk_2787", _QUOTED)}
    ),
    "fs_symlink_link_outside_fs": Difference(
        "link-path", 400, says="does not match any of the defined filesystem paths"
    ),
    "fs_compress_err_malformed_json": Difference("validation", 400, field="1"),
    "fs_chmod_err_malformed_json": Difference("validation", 400, field="1"),
    "fs_compress_err_quote_in_path": Difference("quoting", 204),
    "fs_chmod_mode_injection": Difference("validation", 400, field="mode"),
    "fs_chmod_bad_mode": Difference("validation", 400, field="mode"),
    "fs_extract_not_archive": Difference("not-an-archive", 400, says="not in gzip format"),
    "fs_stat_nul_in_path": _NUL,
    "fs_head_nul_in_path": _NUL,
    "fs_tail_nul_in_path": _NUL,
    "fs_mkdir_err_nul_in_path": _NUL,
    "fs_rm_err_nul_in_path": _NUL,
    "fs_checksum_nul_in_path": _NUL,
    "fs_chmod_err_nul_in_path": _NUL,
    "fs_compress_err_nul_in_path": _NUL,
    "fs_head_dir": Difference("file-kind", 400, says="Is a directory"),
    "fs_tail_dir": Difference("file-kind", 400, says="Is a directory"),
    "fs_view_dir": Difference("file-kind", 400, says="Is a directory"),
    "fs_checksum_dir": Difference("file-kind", 400, says="Is a directory"),
    "fs_mkdir_over_file": Difference("file-kind", 400, says="Not a directory"),
    "fs_upload_path_is_file": Difference("file-kind", 400, says="Not a directory"),
    "fs_download_exactly_limit": Difference(
        "file-size",
        200,
        body={
            "sha256": "ca924a57a348c94b10eef63ba1d2282b9648504b5ab64f869291f1506edb1330",
            "length": 5242880,
        },
    ),
    "fs_download_too_large": Difference("file-size", 413, says="File to download is too large."),
    "fs_upload_name_traversal": Difference("upload-name", 400, body=ANYTHING),
    "transfer_cp_no_account": Difference("default-account", 201, body=ANYTHING),
    "transfer_cp_bad_account": _refused("Invalid account or account/partition combination"),
}
"""Case -> its expected difference."""


def table() -> str:
    """The reasons with their cases, as rows of a Markdown table."""
    rows = ["| id | difference | cases |", "|---|---|---|"]
    for reason, text in REASONS.items():
        names = sorted(name for name, result in DIFFERENCES.items() if result.reason == reason)
        rows.append(f"| `{reason}` | {text} | {', '.join(f'`{name}`' for name in names)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
