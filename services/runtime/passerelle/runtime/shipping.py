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

_FROM_INPUT = (
    "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), 'program', 'exec'))"
)


def program(*modules: str) -> str:
    """The source of a program made of modules with these full names, in the order in which they need each other.

    It is ASCII, has no line that a here-document could take for its end, and runs on Python 3.6 and newer.
    """
    return _LOADER % json.dumps([(name, _source(name)) for name in modules])


def from_input(source: str) -> tuple[str, ...]:
    """What a Python interpreter is called with to run `source`, a program of ours: it comes first on its input.

    What follows there is the program's own input. A source in arguments could be read by everybody on the system, and
    may be longer than one argument holds (128 KiB on Linux).
    """
    return "-c", _FROM_INPUT, str(len(source))


def _source(module: str) -> str:
    """The text of a module of ours, or of a plugin's package."""
    package, _, name = module.rpartition(".")
    return files(package).joinpath(f"{name}.py").read_text()
