"""What a campaign has seen: requests, operations, troubles, and what was found in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from benchmarks.chaos.journal import read_journal

__all__ = ["LABEL", "PROMOTE", "PUSH", "Operation", "Request", "State", "Trace", "Trouble", "read_trace"]

PUSH, LABEL, PROMOTE = "push", "label", "promote"


class Request(NamedTuple):
    """One request of the load. Instants are seconds of ``journal.now``."""

    due: float
    sent: float
    done: float
    model: str
    item: int
    status: int
    """Of HTTP; 0: no answer at all."""
    version: int | None
    value: float | None
    note: str
    """The role that answered, or the error."""


@dataclass(frozen=True)
class Operation:
    """One write by a person or a program, from its begin to its end."""

    op: str
    id: str
    t0: float
    t1: float | None
    """``None``: it never returned."""
    ok: bool
    """Whether it was acknowledged."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What it was about, and what was answered: ``generation``; ``model`` and ``plan``; ``error``."""


@dataclass(frozen=True)
class Trouble:
    """Something that was done to the platform."""

    kind: str
    action: str
    """``kill``, ``stop``, or the name of a scenario."""
    at: float
    until: float
    """When all was as before, or waiting for it was given up."""
    repaired: bool | None
    """Whether all was as before then; ``None``: the next trouble came without waiting for it."""
    amid: str | None = None
    """The kind whose recovery was under way, where it was."""
    interventions: tuple[str, ...] = ()
    """What a person would have had to do."""
    hung: tuple[str, ...] = ()
    """Calls of the harness's own that did not return within their deadlines."""
    wanting: str = ""
    """What had not come back when waiting was given up."""


@dataclass(frozen=True)
class State:
    """What the platform holds when all is over."""

    rows: Mapping[int, int]
    """Generation -> rows of it in the feature table; more than the keys are there twice."""
    online: Mapping[int, int]
    """Key -> generation in the online store."""
    labels: frozenset[str]
    plans: Mapping[str, Sequence[tuple[int, str]]]
    """Model -> number and reason of every plan."""
    reasons: Mapping[str, frozenset[str]]
    """Model -> the reasons that its ledger gives."""
    unfinished_runs: Sequence[str] = ()
    ledger: str = "holds"


@dataclass(frozen=True)
class Trace:
    """All of it."""

    requests: Sequence[Request]
    operations: Sequence[Operation]
    troubles: Sequence[Trouble]
    state: State


def read_trace(directory: Path) -> Trace:
    """The trace that a campaign has left in a directory."""
    requests = sorted(Request(*line) for line in read_journal(directory / "requests.jsonl"))
    troubles = [Trouble(**_tupled(line)) for line in read_journal(directory / "troubles.jsonl")]
    operations = operations_of(read_journal(directory / "operations.jsonl"))
    return Trace(requests, operations, troubles, read_state(orjson.loads((directory / "state.json").read_bytes())))


def _tupled(document: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


def operations_of(lines: Sequence[dict[str, Any]]) -> list[Operation]:
    """Operations from lines of which each tells a begin or, with ``t1``, an end."""
    found: dict[tuple[str, str, float], Operation] = {}
    for line in lines:
        told = {name: value for name, value in line.items() if name not in {"op", "id", "t0", "t1", "ok"}}
        known = (line["op"], str(line["id"]), line["t0"])
        found[known] = Operation(*known, line.get("t1"), line.get("ok", False), told)
    return list(found.values())


def read_state(document: dict[str, Any]) -> State:
    """The state as ``client verify`` writes it."""
    return State(
        rows={int(generation): count for generation, count in document["rows"].items()},
        online={int(key): generation for key, generation in document["online"].items()},
        labels=frozenset(document["labels"]),
        plans={model: [(number, reason) for number, reason in plans] for model, plans in document["plans"].items()},
        reasons={model: frozenset(reasons) for model, reasons in document["reasons"].items()},
        unfinished_runs=document["unfinished_runs"],
        ledger=document["ledger"],
    )
