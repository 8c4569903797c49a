"""Garbage collection of a home: files that no record refers to are found, and removed on request.

Kept is what a record may lead somebody to: every model version ever registered, with its run and all that this run
read and wrote; every run that is under way; every run that ended within ``keep``, so that it can be resumed; and every
bundle that is deployed or that one of these names. Training-set manifests, runs' logs and all records stay for ever.
What nothing refers to goes, once it has lain untouched for ``grace``.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import orjson

from raymlops.errors import StorageError
from raymlops.metadata.stores import Metadata
from raymlops.records.record import Record
from raymlops.records.runs import Run, RunStatus
from raymlops.scratch import directory_lock

__all__ = ["Garbage", "GarbageReport", "collect_garbage"]

Kind = Literal["artifact", "execution", "package", "bundle", "search", "spine"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TRASH = ".trash-"


class Garbage(Record):
    """A file or directory that no record refers to."""

    kind: Kind
    path: str
    bytes: int


class GarbageReport(Record):
    """The garbage that was found, and whether it was removed."""

    removed: bool
    """Whether it was removed, or only looked for."""
    found: tuple[Garbage, ...]
    kept: int
    """Things that are referred to, or were used lately."""

    @property
    def bytes(self) -> int:
        """Size of all that was found."""
        return sum(each.bytes for each in self.found)


@dataclass
class _Needed:
    """The files that records refer to, by kind."""

    artifacts: set[str] = field(default_factory=set)
    executions: set[str] = field(default_factory=set)
    packages: set[Path] = field(default_factory=set)
    bundles: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    """Runs whose search may be gone on with."""
    spines: set[str] = field(default_factory=set)


def collect_garbage(
    home: Path,
    records: Metadata,
    now: datetime,
    *,
    keep: timedelta = timedelta(days=30),
    grace: timedelta = timedelta(days=1),
    remove: bool = False,
    record: Callable[[Sequence[Garbage]], object] | None = None,
) -> GarbageReport:
    """Find the files that no record refers to, and remove them if ``remove`` is set.

    Runs may start and go on meanwhile. What a run takes over it marks first and checks then. An artifact is marked, and
    looked at once more and taken, under one lock: what is marked stays where it is.

    Args:
        home: ``RAYMLOPS_HOME``.
        records: The metadata store.
        now: By the platform's clock; decides which runs ended long ago.
        keep: For how long after its end a run can be resumed.
        grace: What was written or used within this time, on the wall clock, stays whatever refers to it.
        remove: Whether to remove it.
        record: Told what will be removed, before any of it is; not where there is nothing.

    Returns:
        The garbage that was found, without what was gone already or was referred to again meanwhile.

    Raises:
        StorageError: The home cannot be read, or something not be removed.
    """
    oldest = time.time() - grace.total_seconds()
    found: list[Garbage] = []
    kept = 0
    try:
        # candidates first: records that are written after the reading are about younger files than those listed before
        candidates = list(_candidates(home))
        needed = _needed(records, now - keep)
        needed.spines |= _spines(home)
        for kind, path in candidates:
            if _is_needed(kind, path, needed) or not _is_old(path, oldest):
                kept += 1
                continue
            found.append(Garbage(kind=kind, path=str(path), bytes=_size(path)))
        if remove and found:
            if record is not None:
                record(found)
            found = [each for each in found if _remove(each, oldest, home / "artifacts")]
    except (OSError, KeyError, orjson.JSONDecodeError) as error:
        raise StorageError(f"garbage of {home}: {error}", path=str(home)) from error
    return GarbageReport(removed=remove, found=tuple(found), kept=kept)


def _needed(records: Metadata, since: datetime) -> _Needed:
    needed = _Needed()
    # runs before versions: one that registers meanwhile is either still under way here, or its version is there
    everything = records.runs.list_runs()
    versions = [version for name in records.models.list_models() for version in records.models.list_versions(name)]
    needed.packages |= {Path(version.path) for version in versions}
    needed.bundles |= {version.bundle for version in versions if version.bundle is not None}
    for live in records.deployments.list_live_deployments():
        pipeline = records.deployments.get_bundle(live.bundle).project.name
        all_of_it = records.deployments.list_deployments(live.environment, pipeline)
        former = next((each.bundle for each in all_of_it if each.bundle != live.bundle), live.bundle)
        needed.bundles |= {live.bundle, former}  # which a roll-back goes to
    makers = {version.run_id for version in versions}
    kept = {run.id: run for run in everything if run.id in makers or _is_alive(run, since)}
    resumed = {run.parameters.get("resume_of") for run in kept.values()}
    kept |= {run.id: run for run in everything if run.id in resumed}
    for run in kept.values():
        needed.executions |= {step.key for step in run.steps}
        needed.artifacts |= {digest for step in run.steps for digest in step.outputs.values()}
        needed.bundles |= set() if run.bundle is None else {run.bundle}
        if run.status != RunStatus.SUCCEEDED:
            needed.runs.add(run.id)
    needed.artifacts |= {artifact.digest for artifact in records.artifacts.run_artifacts(list(kept))}
    return needed


def _spines(home: Path) -> set[str]:
    """Spines that training-set manifests name; one that cannot be read is an error, lest its spine seem unneeded."""
    found = set()
    for directory in _training_sets(home):
        for path in _children(directory):
            if path.suffix == ".json":
                found.add(str(orjson.loads(path.read_bytes())["spine_digest"]))
    return found


def _training_sets(home: Path) -> list[Path]:
    """Directories of the training sets of all environments."""
    stores = [home / "features", *_children(home / "features" / "environments")]
    return [store / "training_sets" for store in stores]


def _is_alive(run: Run, since: datetime) -> bool:
    return not run.status.final or run.ended_at is None or run.ended_at >= since


def _candidates(home: Path) -> Iterator[tuple[Kind, Path]]:
    """All that may be garbage; executions come before artifacts, so that nothing new is found by them meanwhile."""
    artifacts = home / "artifacts"
    yield from (("execution", path) for path in _children(artifacts / "executions") if path.suffix == ".json")
    for shelf in _children(artifacts):
        if len(shelf.name) == 2:
            yield from (("artifact", path) for path in _children(shelf) if _DIGEST.fullmatch(path.name))
    for model in _children(home / "models"):
        yield from (("package", path) for path in _children(model) if not path.name.startswith(_TRASH))
    yield from (("bundle", path) for path in _children(home / "bundles") if _DIGEST.fullmatch(path.name))
    for directory in _training_sets(home):
        yield from (("spine", path) for path in _children(directory / "spines"))
    for run in _children(home / "runs"):
        yield from (("search", path) for path in (run / "tune", run / "scratch") if path.exists())


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_needed(kind: Kind, path: Path, needed: _Needed) -> bool:
    if kind == "artifact":
        return path.name in needed.artifacts
    if kind == "execution":
        return path.stem in needed.executions
    if kind == "package":
        return path in needed.packages
    if kind == "bundle":
        return path.name in needed.bundles
    if kind == "spine":
        return path.stem in needed.spines
    return path.parent.name in needed.runs


def _is_old(path: Path, oldest: float) -> bool:
    """Whether the file was neither written nor used lately; a file that is gone is not old."""
    return _newest(path, lambda stat: max(stat.st_mtime, stat.st_ctime)) < oldest


def _newest(path: Path, instant: Callable[[os.stat_result], float]) -> float:
    newest = -math.inf
    try:
        for each in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
            newest = max(newest, instant(each.lstat()))
    except FileNotFoundError:
        return math.inf
    return newest


def _size(path: Path) -> int:
    total = 0
    for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
        try:
            total += each.lstat().st_size if not each.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


def _remove(garbage: Garbage, oldest: float, artifacts: Path) -> bool:
    """Move the file aside, then remove it; move it back if it was written meanwhile."""
    path = Path(garbage.path)
    aside = path.parent / f"{_TRASH}{uuid.uuid4().hex}"
    try:
        if garbage.kind == "artifact":
            with directory_lock(artifacts, alone=True):
                if not _is_old(path, oldest):
                    return False
                path.rename(aside)
        else:
            path.rename(aside)
    except FileNotFoundError:
        return False
    # the move has changed its time on the disk, but not the time of its last write
    if _newest(aside, lambda stat: stat.st_mtime) >= oldest:
        if path.exists():
            _delete(aside)  # made again meanwhile, with the same content
        else:
            aside.rename(path)
        return False
    _delete(aside)
    return True


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
