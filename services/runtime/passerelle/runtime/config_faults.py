"""What is wrong with a configuration file, told by file, line and key, with what would be right."""

from difflib import get_close_matches
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


def locate(text: str, source: str, location: tuple[int | str, ...]) -> str:
    """Where in the YAML `text` the key `location` stands, as `source:line: key`, to start a message with."""
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    key = ".".join(str(part) for part in location)
    return f"{source}:{_line(tree, location)}: {key}"


def explain(error: ValidationError, text: str, source: str, model: type[BaseModel]) -> str:
    """What is wrong with the YAML `text` of a file that `model` describes: a line for each fault."""
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        location = item["loc"]
        hint = _unknown(model, location) if item["type"] == "extra_forbidden" else said(item)
        lines.append(f"{locate(text, source, location)}: {hint}{_system_name(text, location)}")
    return "\n".join(lines)


def said(item: ErrorDetails) -> str:
    """What one of pydantic's errors says, in plain words."""
    if item["type"] == "literal_error":
        expected = item["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"one of {expected}"
    return item["msg"].removeprefix("Value error, ")


def _system_name(text: str, location: tuple[int | str, ...]) -> str:
    """The name of the system that a wrong key belongs to, as ` (system NAME)`, where the file gives it one."""
    if len(location) < 2 or location[0] != "systems":
        return ""
    try:
        return f" (system {yaml.safe_load(text)['systems'][location[1]]['name']})"
    except (KeyError, IndexError, TypeError):
        return ""


def _unknown(model: Any, location: tuple[int | str, ...]) -> str:
    """What to say about a key that is none, with the one that was probably meant."""
    *way, key = location
    for part in way:
        model = _section_inside(model, part) if isinstance(part, str) else model
    known = list(model.model_fields) if model is not None else []
    plain = {name.replace("_", ""): name for name in known}
    meant = get_close_matches(str(key).lower().replace("_", "").replace("-", ""), plain, 1, 0.7)
    return f"unknown key; did you mean {plain[meant[0]]}?" if meant else "unknown key"


def _section_inside(model: Any, key: str) -> Any:
    """The section model that the field `key` of a section holds, once or several times; None for anything else."""
    field = model.model_fields.get(key) if model is not None else None
    kinds = [field.annotation, *get_args(field.annotation)] if field else []
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `location` that the file has, counted from 1."""
    line = 1
    for part in location:
        found = _child(node, part)
        if found is None:
            break
        line, node = found
    return line


def _child(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line + 1, value
    return None
