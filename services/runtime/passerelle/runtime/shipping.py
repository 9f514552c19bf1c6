"""Python programs for systems where nothing of ours is installed: several modules in one source text."""

import json
from importlib.resources import files

# Runs each module under its own name, so that later ones can import it, and the last as `__main__`. An import looks in
# `sys.modules` first, and for the whole dotted name: the packages around need not exist.
_LOADER = """\
import sys, types
MODULES = %s
for name, source in MODULES:
    module = types.ModuleType("__main__" if name == MODULES[-1][0] else name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
"""


def program(package: str, *modules: str) -> str:
    """The source of a program made of `modules` of `package`, in the order in which they need each other.

    It is ASCII, has no line that a here-document could take for its end, and runs on Python 3.6 and newer.
    """
    directory = files(package)
    named = [
        (f"{package}.{name}", directory.joinpath(name.replace(".", "/") + ".py").read_text())
        for name in modules
    ]
    return _LOADER % json.dumps(named)
