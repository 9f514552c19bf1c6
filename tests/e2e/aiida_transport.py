"""AiiDA's FirecREST transport, unchanged, at the other end of a pipe: its dependencies and ours exclude each other.

Runs in AiiDA's own virtual environment. The first line of standard input is a JSON object of the transport's settings;
every further line is `[METHOD, [ARGUMENT...], {NAME: ARGUMENT...}]`. Each is answered with one line: `{"result": ...}`
or `{"raised": [CLASS...], "text": ...}`, where CLASS... are the names of the error's class and its bases.
"""

import json
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Answer until standard input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what AiiDA and its extracting tar print is no answer
    transport = computer_transport(json.loads(sys.stdin.readline()))
    answer(answers.write, lambda: str(transport))
    answers.flush()
    for line in sys.stdin:
        method, arguments, named = json.loads(line)
        answer(answers.write, lambda: getattr(transport, method)(*arguments, **named))  # noqa: B023
        answers.flush()


def computer_transport(settings: dict[str, Any]) -> Any:
    """The transport as AiiDA itself makes it: of a configured computer in a (temporary) profile."""
    from aiida import load_profile
    from aiida.orm import Computer
    from aiida.storage.sqlite_temp import SqliteTempBackend

    load_profile(SqliteTempBackend.create_profile("passerelle"), allow_switch=True)
    computer = Computer(
        label="passerelle",
        hostname="passerelle",
        transport_type="firecrest",
        scheduler_type="firecrest",
        workdir=settings["temp_directory"],
    )
    computer.store()
    computer.configure(**settings)
    return computer.get_transport()


def answer(write: Callable[[str], Any], call: Callable[[], Any]) -> None:
    """Write the call's result or exception."""
    try:
        body = {"result": call()}
    except Exception as error:
        body = {"raised": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}
    write(json.dumps(body, default=str) + "\n")


if __name__ == "__main__":
    main()
