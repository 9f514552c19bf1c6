"""Loaded by each Python process of a site that a test watches: writes down what its services look up.

That is each file or directory that is opened, each import that is not loaded yet, and each pattern that is compiled: a
JSON line each, in the file that the environment names.
"""

import json
import os
import re
import sys

_EVENTS = {"open", "import", "os.listdir", "os.scandir", "subprocess.Popen"}
"""Of https://docs.python.org/3/library/audit_events.html."""


def _watch(service: str, path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(event: str, what: object) -> None:
        where: list[str] = []
        frame = sys._getframe().f_back
        while frame and len(where) < 12:
            where.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
            frame = frame.f_back
        line = {"service": service, "event": event, "what": str(what), "where": where}
        os.write(file, json.dumps(line).encode() + b"\n")

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _EVENTS:
            write(event, arguments[0])

    compiler = re._compiler  # type: ignore[attr-defined]
    compile_pattern = compiler.compile

    def compiled(pattern: object, flags: int = 0) -> object:
        write("compile", pattern)
        return compile_pattern(pattern, flags)

    compiler.compile = compiled
    sys.addaudithook(hook)


_argv = sys.orig_argv
_service = _argv[_argv.index("serve") + 1].partition(".")[0] if "serve" in _argv else ""
if _service in ("auth", "compute", "gateway", "storage"):
    _watch(_service, os.environ["PASSERELLE_TEST_LOOKUPS"])
