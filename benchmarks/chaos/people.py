"""``python -m benchmarks.chaos.people``: pushes features and moves champions, as users of the platform outside of it.

A push is repeated under its own id until it is acknowledged, as a program would do that must not lose it. A promotion
is not: a person would look first. The process ends when it has lost the platform; the campaign starts it again.
"""

from __future__ import annotations

import argparse
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.chaos import world
from benchmarks.chaos.journal import Journal, now, read_journal
from benchmarks.chaos.trace import PROMOTE, PUSH
from raymlops.errors import RaymlopsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raymlops.platform import Platform

_PUSH_EVERY_S, _PROMOTE_EVERY_S = 1.0, 2.0
_LOST_AFTER = 3
"""So many failures in a row, and the process makes room for one with a new connection."""


class _People:
    def __init__(self, platform: Platform, journal: Journal, lines: list[dict[str, Any]], models: int) -> None:
        self._platform = platform
        self._journal = journal
        self._models = [each.name for each in world.MODELS[:models] if each.name in world.MOVED]
        pushes = [line for line in lines if line["op"] == PUSH]
        self._generation = max((line["generation"] for line in pushes), default=0)
        acknowledged = {line["generation"] for line in pushes if line.get("ok")}
        newest = [line for line in pushes if line["generation"] == self._generation]
        self._pending = newest[-1]["event_time"] if newest and self._generation not in acknowledged else None
        self._moved = sum(line["op"] == PROMOTE and "t1" not in line for line in lines)
        self._done = threading.Event()

    def stop(self, *_: object) -> None:
        self._done.set()

    def run(self) -> None:
        threads = [
            threading.Thread(target=self._every, args=(every_s, act))
            for every_s, act in ((_PUSH_EVERY_S, self._push), (_PROMOTE_EVERY_S, self._promote))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _every(self, every_s: float, act: Callable[[], bool]) -> None:
        failed = 0
        while not self._done.wait(every_s) and failed < _LOST_AFTER:
            failed = 0 if act() else failed + 1
        self._done.set()

    def _push(self) -> bool:
        if self._pending is None:
            self._generation += 1
            self._pending = self._platform.clock.now().isoformat()
        generation, event_time = self._generation, datetime.fromisoformat(self._pending)
        told = {"generation": generation, "event_time": self._pending}
        with _journalled(self._journal, PUSH, f"push-{generation}", told) as end:
            rows = world.rows_of(generation, event_time)
            self._platform.features.push(world.VIEW, rows, ingest_id=f"chaos-{generation}")
            end["ok"] = True
            self._pending = None
        return bool(end["ok"])

    def _promote(self) -> bool:
        model = random.choice(self._models)
        self._moved += 1
        reason = f"chaos-{self._moved}"
        with _journalled(self._journal, PROMOTE, reason, {"model": model}) as end:
            plan = self._platform.endpoints.plan(model)
            if plan.backup is not None and self._moved % 3 == 0:
                done = self._platform.endpoints.rollback(model, reason=reason)
            else:
                other = next(version for version in world.VERSIONS if version != plan.champion)
                done = self._platform.endpoints.promote(model, other, reason=reason)
            end |= {"ok": True, "plan": done.number}
        return bool(end["ok"])


@contextmanager
def _journalled(journal: Journal, op: str, identity: str, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Journal an operation's begin and its end; an error that the platform answers is an end that is not ``ok``."""
    begun = {"op": op, "id": identity, "t0": now(), **told}
    journal.write(begun)
    end: dict[str, Any] = {"ok": False}
    try:
        yield end
    except Exception as error:  # whatever it is, it is told; the judge looks at what was acknowledged
        end |= {"error": f"{type(error).__name__}: {error}"[:300], "expected": isinstance(error, RaymlopsError)}
    journal.write({**begun, **end, "t1": now()})


def main() -> None:
    """Push and promote until SIGTERM, or until the platform is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=int, default=len(world.MODELS))
    arguments = parser.parse_args()
    path = arguments.out / "operations.jsonl"
    journal, lines = Journal(path), read_journal(path)
    random.seed(len(lines))
    with _journalled(journal, "connect", f"connect-{time.time_ns()}", {}) as end:
        import raymlops

        platform = raymlops.connect(start=False)
        end["ok"] = True
    if not end["ok"]:
        raise SystemExit(1)
    people = _People(platform, journal, lines, arguments.models)
    signal.signal(signal.SIGTERM, people.stop)
    people.run()
    platform.detach()


if __name__ == "__main__":
    main()
