"""The objects of each installed plugin that the conformance suites test, found by a convention."""

import importlib
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

OWN = "tests.conformance"


def prepared_of(group: str, name: str) -> Any:
    """The function `prepared` for a plugin; LookupError says where it has to be.

    `group` is that of its entry point, such as `passerelle.schedulers`. It stands in the module `conformance` of the
    package that holds the plugin, or, for those that come with Passerelle, in the module of its name in
    tests/conformance/schedulers.
    """
    (plugin,) = (entry for entry in entry_points(group=group) if entry.name == name)
    package = plugin.module.partition(".")[0]
    own = f"{OWN}.{group.rpartition('.')[2]}.{name}"
    module = own if package == "passerelle" else f"{package}.conformance"
    if find_spec(module) is None:
        raise LookupError(
            f"{name!r} is registered in {group} and has nothing to be tested on: "
            f"write `prepared` in the module {module}"
        )
    return importlib.import_module(module).prepared
