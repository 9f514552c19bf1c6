"""A file that maps values of a claim to accounts, such as the subjects of a provider that knows no accounts."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from passerelle.auth.tokens.account_rules import ACCOUNT

_MOST_BYTES = 64 << 20


def accounts_in(path: Path) -> Mapping[str, str]:
    """The accounts in a file of lines `VALUE ACCOUNT`, by the values.

    As in a Globus grid-mapfile a value with blanks is quoted, and `#` begins a comment. Raises ValueError, which names
    the file and the line, when it cannot be read.
    """
    accounts: dict[str, str] = {}
    for number, line in enumerate(_text_of(path).splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if not words:
            continue
        if len(words) != 2 or not ACCOUNT.fullmatch(words[1]):
            raise ValueError(f"{path}, line {number}: a value and a valid account name are wanted")
        if accounts.setdefault(words[0], words[1]) != words[1]:
            raise ValueError(f"{path}, line {number}: the value has two accounts")
    return accounts


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if len(text) > _MOST_BYTES:
        raise ValueError(f"{path}: larger than {_MOST_BYTES >> 20} MiB")
    return text.decode(errors="replace")
