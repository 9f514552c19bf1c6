"""Make a virtual environment that holds Passerelle, editable, with everything needed to run and develop it.

With --production it holds what running takes and nothing else, and does not need this directory afterwards. Needs
nothing but Python and the package registry. Installs exactly what the lock files name, and checks its hashes.
Written for old Pythons too, so that they can say which one is needed.
"""

import argparse
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import time

OLDEST = (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.11")
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> None:
    """Install into the directory named by --venv; raises SystemExit with a message when that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", default=os.path.join(TOP, ".venv"), help="the directory to make")
    parser.add_argument("--production", action="store_true", help="only what running takes")
    arguments = parser.parse_args()
    venv = os.path.abspath(arguments.venv)
    use_new_enough_python()
    if os.getuid() == 0:
        os.umask(0o022)  # installed by root, it is for others to run
    make_environment(venv)
    python = os.path.join(venv, "bin", "python")
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Without --no-deps pip would resolve everything once more; without isolation the build takes what is pinned.
    install.append("--no-deps")
    lock = "requirements.lock" if arguments.production else "requirements-dev.lock"
    run_twice([*install, "--require-hashes", "--requirement", os.path.join(TOP, lock)])
    # The server, and the stubs of its API, which are a distribution of their own for clients.
    for own in (TOP, os.path.join(TOP, "proto")):
        how = [own] if arguments.production else ["--editable", own]
        run_twice([*install, "--no-build-isolation", *how])
    if os.getuid() == 0:
        warn_of_closed_directories(python, *([] if arguments.production else [TOP]))
    say("done: " + os.path.join(venv, "bin", "passerelle"))


def use_new_enough_python() -> None:
    """Go on in a Python that is new enough; replaces this process when ours is not."""
    if sys.version_info >= OLDEST:
        return
    ours = f"{sys.executable} {sys.version_info[0]}.{sys.version_info[1]}"
    for path in filter(None, map(shutil.which, CANDIDATES)):
        if works(path):
            say(f"using {path}: {ours} is too old")
            os.execv(path, [path, os.path.abspath(__file__), *sys.argv[1:]])  # noqa: S606
    raise SystemExit(
        f"Passerelle needs Python {OLDEST[0]}.{OLDEST[1]} or newer; this is {ours}, and none of "
        f"{', '.join(CANDIDATES)} on PATH works.\n"
        "Install one (Debian: apt install python3.11 python3.11-venv; without root: `uv python install 3.13`),\n"
        "or name it: make PYTHON=/path/to/python install"
    )


def works(python: str) -> bool:
    """Whether that interpreter starts and is new enough (a version manager's shim may be neither)."""
    check = f"import sys; sys.exit(sys.version_info < {OLDEST!r})"
    try:
        return subprocess.call([python, "-c", check], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def make_environment(venv: str) -> None:
    """A virtual environment with pip; one that is there and works is kept."""
    python = os.path.join(venv, "bin", "python")
    if (
        works(python)
        and subprocess.call([python, "-c", "import pip"], stderr=subprocess.DEVNULL) == 0
    ):
        return
    say(f"making {venv} with Python {sys.version_info[0]}.{sys.version_info[1]}")
    if importlib.util.find_spec("ensurepip"):
        maker = [sys.executable, "-m", "venv", "--clear", venv]
    elif importlib.util.find_spec("virtualenv"):
        maker = [sys.executable, "-m", "virtualenv", "--quiet", "--clear", venv]
    else:
        raise SystemExit(
            f"{sys.executable} cannot make virtual environments: it has neither ensurepip nor virtualenv.\n"
            "Debian and Ubuntu: apt install python3-venv; elsewhere: install virtualenv, or name another Python:\n"
            "make PYTHON=/path/to/python install"
        )
    if subprocess.call(maker) != 0:
        raise SystemExit(f"could not make {venv}; what failed stands above")


def warn_of_closed_directories(*paths: str) -> None:
    """Say which directories on the way to `paths`, after links, other accounts cannot enter."""
    for path in paths:
        target = place = os.path.realpath(path)
        while place != os.path.dirname(place):
            place = os.path.dirname(place)
            if not os.stat(place).st_mode & stat.S_IXOTH:
                say(f"NOTE: {path} leads to {target}; only its owner can enter {place},")
                say("so no other account can run this. Install elsewhere, with a Python outside")
                say("home directories: make PYTHON=/usr/bin/python3 ...")


def run_twice(command: "list[str]") -> None:
    """Run a command that uses the network, once more when it fails."""
    say(" ".join(command[2:]))
    if subprocess.call(command) == 0:
        return
    say("that failed; once more in 5 s")
    time.sleep(5)
    if subprocess.call(command) != 0:
        raise SystemExit("could not install; what failed stands above")


def say(text: str) -> None:
    """Tell the person at the terminal what happens."""
    print("install: " + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
