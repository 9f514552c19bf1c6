"""Explains the faults of a configuration file: by file, line and key, with what would be correct."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from passerelle.runtime.config.findings import Key


class Places:
    """Finds the lines of keys in a YAML text, to begin messages with; `source` is the name of the text."""

    def __init__(self, text: str, source: str) -> None:
        self._tree = yaml.compose(text, Loader=yaml.SafeLoader)
        self._source = source

    def of(self, location: Key) -> str:
        """As `source:line: key`; a system's number has its name beside it, as in `systems.1 (daint).ssh`."""
        names = [str(part) for part in location]
        nodes = [node for _, node in self._nodes(location)]
        if len(nodes) > 1 and location[0] == "systems" and (name := _name(nodes[1])):
            names[1] += f" ({name})"
        return f"{self._source}:{self.line(location)}: {'.'.join(names)}"

    def line(self, location: Key) -> int:
        """That of the deepest part of the key which the text has, counted from 1."""
        return [1, *(line for line, _ in self._nodes(location))][-1]

    def _nodes(self, location: Key) -> Iterator[tuple[int, yaml.Node]]:
        """The line and the node of each part of the key that the text has."""
        node = self._tree
        for part in location:
            child = _child(node, part)
            if child is None:
                return
            yield child
            node = child[1]


def read_yaml(text: str, source: str) -> Any:
    """The data of a YAML text.

    Raises ValueError, with `source` and the line, for invalid YAML and for a key that stands twice.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        for line, key in _repeated(node):
            raise ValueError(f"{source}:{line}: {key} stands twice here; only one would count")
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{source}:{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def _repeated(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """The keys that a mapping has more than once, with their lines; YAML 1.2 §3.2.1.3 forbids it, PyYAML does not."""
    if isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value)
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            if key.value in keys:
                yield key.start_mark.line + 1, str(key.value)
            if isinstance(key, yaml.ScalarNode):
                keys.add(key.value)
            yield from _repeated(value)


def explain(error: ValidationError, text: str, source: str, model: type[BaseModel]) -> str:
    """The faults of the YAML `text` of a file that `model` describes, one a line."""
    places = Places(text, source)
    ordered = sorted(faults(error, model), key=lambda fault: places.line(fault[0]))
    return "\n".join(f"{places.of(key)}: {why}" for key, why in ordered)


def faults(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Key, str]]:
    """The faults of a section that `model` describes: the key in the section, and a sentence."""
    for item in error.errors(include_url=False, include_input=False):
        key = item["loc"]
        yield key, _unknown(model, key) if item["type"] == "extra_forbidden" else _sentence(item)


_PLAIN = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text; put it in quotes",
    "model_type": "must be a section with keys of its own",
    "dict_type": "must be a section with keys of its own",
    "mapping_type": "must be a section with keys of its own",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}
"""Sentences for pydantic's types of errors, in terms of YAML."""


def _sentence(item: ErrorDetails) -> str:
    match item["type"]:
        case "literal_error":
            expected = item["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
            return f"one of {expected}"
        case "too_short":
            return f"must have at least {item['ctx']['min_length']} in it"
        case kind if kind in _PLAIN:
            return _PLAIN[kind]
    message = item["msg"].removeprefix("Value error, ")
    return message.replace("Input should be", "must be").replace("String should", "must")


def closest(word: str, choices: Iterable[str]) -> str:
    """`; did you mean …?` with the choice that was probably meant; empty when none is similar to `word`."""
    plain = {_plain(name): name for name in choices}
    matches = get_close_matches(_plain(word), plain, 1, 0.7)
    return f"; did you mean {plain[matches[0]]}?" if matches else ""


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def _name(system: yaml.Node | None) -> str | None:
    """The name that the file gives to a system."""
    child = _child(system, "name")
    return child[1].value if child and isinstance(child[1], yaml.ScalarNode) else None


def _unknown(model: Any, location: Key) -> str:
    """The sentence about an unknown key, with the key that was probably meant."""
    *parents, key = location
    named = False  # whether the next part is a name, as in `users.alice`
    for part in parents:
        if isinstance(part, str) and not named:
            model, named = _section_inside(model, part)
        else:
            named = False
    fields = model.model_fields if model is not None else ()
    return f"unknown key{closest(str(key), fields)}"


def _section_inside(model: Any, key: str) -> tuple[Any, bool]:
    """The section model that the field `key` of a section holds, once or several times; None for anything else.

    The second value is whether they have names there.
    """
    field = model.model_fields.get(key) if model is not None else None
    kinds = [field.annotation, *get_args(field.annotation)] if field else []
    sections = (k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return next(sections, None), bool(kinds) and get_origin(kinds[0]) in (dict, Mapping)


def _child(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line + 1, value
    return None
