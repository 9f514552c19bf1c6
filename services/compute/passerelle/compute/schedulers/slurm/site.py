"""Queries for nodes, queues, reservations and users: the commands, and the parsers of their output."""

import re
from collections.abc import Mapping
from dataclasses import replace

from passerelle.compute.scheduler import (
    Account,
    Node,
    NodeState,
    Partition,
    Reservation,
    UserInfo,
)
from passerelle.compute.schedulers.command_line.identity import IDENTITY, parse_identity
from passerelle.compute.schedulers.command_line.scheduler import CommandLineScheduler
from passerelle.compute.schedulers.command_line.tables import new_mark, table_rows
from passerelle.compute.schedulers.slurm import failures
from passerelle.compute.schedulers.slurm.commands import question
from passerelle.compute.schedulers.slurm.states import NODE_STATES
from passerelle.compute.schedulers.slurm.values import epoch, number
from passerelle.runtime.command import Command
from passerelle.runtime.errors import BackendError

# sinfo's letters: name, state, sockets, cores, threads, CPUs, load, free memory, memory, features, address, host name,
# weight, CPUs allocated/idle/other/total, partition.
NODE_FIELDS = "NTXYZcOemfonwCR"

# What sinfo appends to a state. See "NODE STATE CODES" in sinfo(1).
_NODE_FLAGS: Mapping[str, str] = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWERING_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}
_CONTROLLER = re.compile(r"^Slurmctld\(.*$", re.MULTILINE)
_ASSOCIATION = re.compile(
    r"^ClusterName=(\S+) Account=(\S+) UserName=.* DefAssoc=(Yes|No)\b", re.MULTILINE
)
_ACCOUNTS = (
    f"{IDENTITY} &&"
    ' scontrol --oneliner show assoc_mgr users="$(id -un)" flags=assoc'
    ' | grep -F " UserName=$(id -un)("'
)


class SiteQuestions(CommandLineScheduler):
    """The part of the port that is about the site: nodes, partitions, reservations, the user, the controller."""

    errors = failures.ERRORS

    def nodes_command(self) -> Command[tuple[Node, ...]]:
        """See `CommandLineScheduler.nodes_command`."""
        return nodes_command()

    def partitions_command(self) -> Command[tuple[Partition, ...]]:
        """See `CommandLineScheduler.partitions_command`."""
        return partitions_command()

    def reservations_command(self) -> Command[tuple[Reservation, ...]]:
        """See `CommandLineScheduler.reservations_command`."""
        return reservations_command()

    def user_command(self) -> Command[UserInfo]:
        """See `CommandLineScheduler.user_command`."""
        return user_command()

    def ping_command(self) -> Command[str]:
        """See `CommandLineScheduler.ping_command`."""
        return ping_command()


def nodes_command() -> Command[tuple[Node, ...]]:
    """All nodes, also those of hidden partitions."""
    mark = new_mark()
    shown = "".join(f"%{letter}{mark}" for letter in NODE_FIELDS)
    return question(
        ("sinfo", "--all", "--Node", "--noheader", "--noconvert", f"--format={shown}"),
        lambda text: parse_nodes(text, mark),
    )


def partitions_command() -> Command[tuple[Partition, ...]]:
    """All partitions, hidden ones too."""
    return question(
        ("scontrol", "--all", "--oneliner", "show", "partition"),
        parse_partitions,
    )


def reservations_command() -> Command[tuple[Reservation, ...]]:
    """All reservations."""
    return question(
        ("scontrol", "--oneliner", "show", "reservation"),
        parse_reservations,
    )


def user_command() -> Command[UserInfo]:
    """The caller, with the accounts that slurmctld lists; `accounts` is None when it lists none."""
    return question(
        ("sh", "-c", _ACCOUNTS),
        parse_user,
        of="scontrol",
        accepts=(0, 1),
    )


def accounts_command(user: str) -> Command[tuple[Account, ...]]:
    """The user's accounts from the accounting database, on all its clusters."""
    return question(
        (
            "sacctmgr",
            "--noheader",
            "--parsable2",
            "show",
            "user",
            f"name={user}",
            "withassoc",
            "format=Account,DefaultAccount",
        ),
        parse_accounts,
    )


def ping_command() -> Command[str]:
    """Asks for slurmctld; it answers with exit status 1 when no controller is up."""
    return question(("scontrol", "ping"), parse_ping, failure=failures.controller_down)


def parse_nodes(text: str, mark: str) -> tuple[Node, ...]:
    """Nodes from sinfo, which has a row for each partition of a node."""
    nodes: dict[str, Node] = {}
    partitions: dict[str, set[str]] = {}
    for row in table_rows(text, NODE_FIELDS, mark):
        name = row["N"]
        partitions.setdefault(name, set()).add(row["R"])
        nodes.setdefault(name, _node(row))
    return tuple(
        replace(node, partitions=tuple(sorted(partitions[name]))) for name, node in nodes.items()
    )


def _node(row: Mapping[str, str]) -> Node:
    allocated, idle, *_ = (*row["C"].split("/"), "", "")
    states = _node_states(row["T"])
    return Node(
        name=row["N"],
        states=states,
        state=NODE_STATES.get(states[0], NodeState.UNKNOWN),
        cpus=number(row["c"]) or 0,
        sockets=number(row["X"]),
        cores=number(row["Y"]),
        threads=number(row["Z"]),
        cpu_load=_load(row["O"]),
        free_memory=number(row["e"]),
        memory=number(row["m"]),
        allocated_cpus=number(allocated),
        idle_cpus=number(idle),
        features=None if row["f"] == "(null)" else row["f"],
        address=row["o"] or None,
        hostname=row["n"] or None,
        weight=number(row["w"]),
    )


def _node_states(word: str) -> tuple[str, ...]:
    """`down*` as DOWN, NOT_RESPONDING: the state first, then the flags' meanings."""
    state = word.rstrip("".join(_NODE_FLAGS))
    return (state.upper(), *(_NODE_FLAGS[flag] for flag in word[len(state) :]))


def _load(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _records(text: str, first: str) -> list[dict[str, str]]:
    """The one-line records of scontrol, as far as their values hold no spaces. A key's first value counts."""
    lines = [line for line in text.splitlines() if line.startswith(f"{first}=")]
    pairs = [[word.partition("=") for word in line.split(" ")] for line in lines]
    return [{key: value for key, _, value in reversed(line)} for line in pairs]


def parse_partitions(text: str) -> tuple[Partition, ...]:
    """Partitions from `scontrol --oneliner show partition`, in Slurm's order."""
    return tuple(
        Partition(
            name=record["PartitionName"],
            state=record.get("State", "UNKNOWN"),
            cpus=number(record.get("TotalCPUs", "")),
            node_count=number(record.get("TotalNodes", "")),
            hidden=record.get("Hidden") == "YES",
        )
        for record in _records(text, "PartitionName")
    )


def parse_reservations(text: str) -> tuple[Reservation, ...]:
    """Reservations from `scontrol --oneliner show reservation`."""
    return tuple(
        Reservation(
            name=record["ReservationName"],
            nodes=_unless_null(record.get("Nodes", "")) or "",
            start=epoch(record.get("StartTime", "")) or 0,
            end=epoch(record.get("EndTime", "")) or 0,
            features=_unless_null(record.get("Features", "")),
            state=record["State"].lower() if "State" in record else None,
        )
        for record in _records(text, "ReservationName")
    )


def _unless_null(text: str) -> str | None:
    return None if text in ("", "(null)") else text


def parse_user(text: str) -> UserInfo:
    """The caller, and accounts from scontrol's lines after that; None of them when it does not tell."""
    user, rest = parse_identity(text)
    accounts = {
        name: Account(name, default == "Yes") for _, name, default in _ASSOCIATION.findall(rest)
    }
    return replace(user, accounts=tuple(accounts.values()) or None)


def parse_accounts(text: str) -> tuple[Account, ...]:
    """The user's accounts from `sacctmgr --parsable2`: an account and the user's default one a line."""
    lines = [line.split("|") for line in text.splitlines()]
    accounts = {line[0]: Account(line[0], line[0] == line[1]) for line in lines if len(line) == 2}
    return tuple(account for name, account in accounts.items() if name)


def parse_ping(text: str) -> str:
    """The first controller's line of `scontrol ping`, such as `Slurmctld(primary) at node1 is UP`."""
    match = _CONTROLLER.search(text)
    if match is None:
        raise BackendError("Slurm answered in a form that is not known here.")
    return match[0]
