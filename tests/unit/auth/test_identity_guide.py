"""The examples of docs/identity-providers.md are valid, and mean what stands there."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from passerelle.auth.tokens.identity import identity
from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.presets import Preset

PAGE = (Path(__file__).parents[3] / "docs" / "identity-providers.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(- .*?)^```$", PAGE, re.M | re.S)
MEANINGS = re.findall(
    r"^```yaml\n([^`]*)^```\n\n```json\n([^`]*)^```\n\nstands for `(\S+)`(?: with the scopes `([^`]+)`)?\.",
    PAGE,
    re.M,
)


def test_every_preset_has_an_example() -> None:
    used = {issuer.get("preset") for text in EXAMPLES for issuer in yaml.safe_load(text)}
    assert used >= set(get_args(Preset))


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_valid(text: str) -> None:
    [settings] = yaml.safe_load(text)
    Issuer.model_validate(settings)


@pytest.mark.parametrize(("text", "claims", "account", "scopes"), MEANINGS)
def test_every_example_means_what_it_says(
    text: str, claims: str, account: str, scopes: str
) -> None:
    [settings] = yaml.safe_load(text)
    who = identity(json.loads(claims), Issuer.model_validate(settings), None)
    assert (who.username, " ".join(sorted(who.scopes))) == (account, scopes)


def test_meanings_are_found() -> None:
    assert len(MEANINGS) == PAGE.count("stands for `")
