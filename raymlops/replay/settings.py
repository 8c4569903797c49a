"""The platform of a replay: what the project's ``platform.yaml`` says, and what follows from the windows where not."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raymlops.clock import to_us
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.config.section import parse_duration, render_duration
from raymlops.errors import ConfigError
from raymlops.replay.plan import Needs, ReplayPlan, Sample, Wishes, derive_plan
from raymlops.replay.source import Project
from raymlops.replay.tables import AT, KNOWN, REQUEST_ID, ReplayTables, instants_of
from raymlops.steps.project.parameters import training_parameters

__all__ = ["PLATFORM_FILE", "Planned", "free_port", "plan_replay", "platform_config", "read_policy"]

PLATFORM_FILE = "platform.yaml"
_NEVER = np.iinfo(np.int64).max
_LATE_QUANTILE = 0.95
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
_PORTS = range(20_000, 30_000)
"""Below those that a kernel hands out by itself."""


@dataclass(frozen=True)
class Planned:
    """A plan, and what the project's ``platform.yaml`` says.

    Attributes:
        plan: When what is replayed.
        label_delay: How long after its row a label usually comes.
        rows: Requests of a window, usually.
        said: The document of ``platform.yaml``; empty where there is none.
    """

    plan: ReplayPlan
    label_delay: timedelta
    rows: int
    said: Mapping[str, Any]


def plan_replay(project: Project, wishes: Wishes) -> Planned:
    """Cut the project's data into windows, as the project and its ``platform.yaml`` say, else as follows from the data.

    Args:
        project: With its data.
        wishes: The user's wishes.

    Raises:
        ConfigError: A setting is wrong.
        NotEnoughRows: There are too few rows or windows.
    """
    said, replay, tables = _platform_document(project.directory), project.spec.replay, project.tables
    monitoring = said.get("monitoring") or {}
    config = load_config(project.directory / PLATFORM_FILE, environ={}).monitoring if said else None
    at_us, known_us = instants_of(tables.requests, AT), _known_us(tables)
    delay = config.label_delay if config and "label_delay" in monitoring else _label_delay(project, at_us, known_us)
    own = Wishes(
        window=config.window if config and "window" in monitoring else None,
        anchor=config.anchor if config and "anchor" in monitoring else None,
        training_windows=replay.training_windows,
        windows=replay.windows if wishes.windows is None else wishes.windows,
        steps=tuple(_duration(step, "replay.steps") for step in replay.steps),
        sample=wishes.sample or (None if replay.sample is None else Sample(rows=replay.sample)),
        start=wishes.start,
        end=wishes.end,
    )
    parameters = training_parameters(project.spec, replay.first_run)
    rules = parameters.quality
    needs = Needs(rules.min_rows, parameters.holdout_days * _DAY, rules.min_holdout_rows)
    plan = derive_plan(at_us, known_us, own, needs, delay)
    return Planned(plan, delay, _rows_of(plan, at_us), said)


def platform_config(
    planned: Planned,
    home: Path,
    port: int,
    policy: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> PlatformConfig:
    """The configuration of the replay's platform, which is left in its home as ``platform.yaml``.

    No variable of the environment counts: it may be meant for another platform.

    Args:
        planned: The plan of the replay, and the project.
        home: Of the replay's platform.
        port: For HTTP.
        policy: Sections of ``control`` that replace those of the project's ``platform.yaml``.
        settings: Others that do so.

    Raises:
        ConfigError: A setting is wrong.
    """
    document = _merged(_merged(_derived(planned), planned.said), settings or {})
    document = _merged(document, {"control": policy or {}})
    document = _merged(document, {"home": str(home), "serving": {"port": port}, "clock": {"kind": "replay"}})
    file = home / PLATFORM_FILE
    home.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_config(file, environ={})


def read_policy(path: Path) -> dict[str, Any]:
    """Read ``--policy``: a YAML file with the sections of ``control``, plain or below ``policy`` or ``control``.

    Raises:
        ConfigError: It cannot be read, or is no mapping.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"policy {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"policy {path} is not YAML: {' '.join(str(error).split())}") from error
    for name in ("policy", "control"):
        if isinstance(document, dict) and name in document:
            document = document[name]
    if not isinstance(document, dict):
        raise ConfigError(f"policy {path} must hold a mapping of settings, got {type(document).__name__}")
    return document


def free_port() -> int:
    """A free HTTP port.

    Raises:
        ConfigError: Of a hundred ports, none is free.
    """
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ConfigError(f"of 100 ports from {_PORTS.start} to {_PORTS.stop}, none is free: choose one with --port")


def _derived(planned: Planned) -> dict[str, Any]:
    """Settings by the length of a window, as those of the flights are by the week."""
    plan, window = planned.plan, planned.plan.window
    look, longest = render_duration(window / 7), max(plan.steps)
    enough = min(200, max(20, planned.rows // 2))  # rows of a window that has a verdict
    cooldown = window * min(4, max(1, round(plan.count / 11)))
    return {
        "cluster": {"trial_cpus": 0.8},
        "features": {"history": render_duration(2 * longest)},
        "serving": {"replica_cpus": 0.1, "events": {"flush_every": "10s"}},
        "monitoring": {
            "window": render_duration(window),
            "anchor": plan.origin.isoformat(),
            "label_delay": render_duration(planned.label_delay),
            "performance": {"min_labelled_rows": enough},
            "drift": {"min_rows": enough},
        },
        "control": {
            "health": {"look_every": look, "window": look},
            "retrain": {
                "cooldown": render_duration(cooldown),
                "backoff_max": render_duration(2 * cooldown),
                "budget_period": render_duration(10 * cooldown),
                "min_labelled_rows": min(500, planned.rows),
            },
            "trial": {
                "weight": 0.3,
                "deadline": "2s",
                "look_every": render_duration(min(plan.steps)),
                "max_duration": render_duration(3 * window),
                "return_within": render_duration(8 * window),
                "probation": {"max_duration": render_duration(window)},
            },
        },
    }


def _rows_of(plan: ReplayPlan, at_us: Any) -> int:
    """The median number of requests of a window."""
    bounds = np.searchsorted(at_us, [to_us(plan.start(number)) for number in range(1, plan.count + 2)])
    return int(np.median([len(plan.sample.draw(int(rows), 0, 0)) for rows in np.diff(bounds)]))


def _platform_document(directory: Path) -> Mapping[str, Any]:
    file = directory / PLATFORM_FILE
    if not file.exists():
        return {}
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {' '.join(str(error).split())}", path=str(file)) from error
    return document if isinstance(document, dict) else {}


def _known_us(tables: ReplayTables) -> np.ndarray[Any, np.dtype[np.int64]]:
    """When the label of each request became known; later than all where it never did."""
    instants = dict(zip(tables.labels[REQUEST_ID].to_pylist(), instants_of(tables.labels, KNOWN).tolist(), strict=True))
    ids = tables.requests[REQUEST_ID].to_pylist()
    return np.array([instants.get(request_id, _NEVER) for request_id in ids], dtype=np.int64)


def _label_delay(project: Project, at_us: Any, known_us: Any) -> timedelta:
    """As the project says, else so long that most labels came within it."""
    data = project.spec.data
    if data is not None and data.label_time is None:
        return _duration(data.label_delay, "data.label_delay")
    told = known_us < _NEVER
    if not told.any():
        return timedelta()
    late = timedelta(microseconds=int(np.quantile((known_us - at_us)[told], _LATE_QUANTILE)))
    return -(-late // _SECOND) * _SECOND


def _duration(text: str, what: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{what} {error}, got {text!r}") from error


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings; what is above wins, field by field."""
    found = dict(below)
    for key, value in above.items():
        known = found.get(key)
        found[key] = _merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return found
