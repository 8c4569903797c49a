"""A campaign: one platform, its load, its people, and one trouble after the other."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks.chaos import world
from benchmarks.chaos.journal import Journal, now
from benchmarks.chaos.judge import Deadlines
from benchmarks.chaos.operated import Called, Hung, Operated
from benchmarks.chaos.trace import LABEL, Trouble
from benchmarks.chaos.victims import KINDS, Kind, Process, kinds_there, members
from benchmarks.chaos.watch import Watch

__all__ = ["Campaign"]

_POLL_S = 0.1
_STEADY_WITHIN_S = 120.0
_STARTS = 3
_PEOPLE_AGAIN_S = 2.0
_LOAD_ENDS_WITHIN_S = 60.0
_AFTER_UP_S = 60.0
"""How long after an intervention the platform may take until all is as before."""


class Campaign:
    """Runs the platform and everybody around it, does harm to it, and journals what was done.

    Args:
        operated: The platform.
        out: Where journals go.
        models: How many models are served.
        rate: Requests per second.
        kinds: The kinds of processes; another supervisor may be named among them.
        draw: Decides what is not planned.
    """

    def __init__(
        self,
        operated: Operated,
        out: Path,
        *,
        models: int = len(world.MODELS),
        rate: float = 30.0,
        kinds: tuple[Kind, ...] = KINDS,
        draw: random.Random | None = None,
    ) -> None:
        self.operated = operated
        self.out = out
        self.kinds = kinds
        self.draw = draw or random.Random(0)
        self.models = models
        self._rate = rate
        self._supervisor = re.compile(next(each.pattern for each in kinds if each.name == "supervisor"))
        self._watch = Watch(out, [each.name for each in world.MODELS[:models]])
        self._troubles = Journal(out / "troubles.jsonl")
        self._operations = Journal(out / "operations.jsonl")
        self._load: subprocess.Popen[bytes] | None = None
        self._people: subprocess.Popen[bytes] | None = None
        self._people_from = 0.0
        self._normal: dict[str, int] = {}
        self.restarts = 0
        """How often people had to connect again."""

    # --- the platform and everybody around it

    def start(self, *, project: bool) -> float:
        """Bring everything up; how long ``up`` took."""
        up_s = self._first_up()
        with_project = ["--project", str(self.out / "projects")] if project else []
        self.operated.client("prepare", "--models", str(self.models), *with_project)
        self._load = self.operated.start(
            [
                *(sys.executable, "-m", "benchmarks.chaos.load", "--url", self.operated.url),
                *("--out", str(self.out), "--models", str(self.models), "--rate", str(self._rate)),
            ],
            self.out / "load.log",
        )
        self.tick()
        wanting = self._await(now(), _STEADY_WITHIN_S, self._watch.wanting)
        if wanting:
            raise Called(f"the platform is not steady after {_STEADY_WITHIN_S:g} s: {', '.join(wanting)}")
        self.take_as_normal()
        return up_s

    def _first_up(self) -> float:
        """``up``, again where it fails: each time is one that a person would have had to type it."""
        at, again = now(), list[str]()
        while True:
            try:
                up_s = self.operated.up()
            except Called as error:
                again.append(f"up again ({error})")
                if len(again) == _STARTS:
                    raise
                continue
            if again:
                self._troubles.write(asdict(Trouble("platform", "start", at, now(), True, None, tuple(again))))
            return up_s

    def tick(self) -> None:
        """Take in the journals, and have people come again who have lost the platform, or whom it lets wait."""
        self._watch.update()
        if self._load is not None and self._load.poll() is not None:
            raise Called(f"the load ended with {self._load.returncode}: see {self.out / 'load.log'}")
        if self._people is not None:
            if self._people.poll() is None:
                if self._waits_too_long():
                    self._people.kill()
                    self._people.wait()
                return
            self._abandon()
            self._people, self._people_from = None, now() + _PEOPLE_AGAIN_S
            self.restarts += 1
        if self._load is not None and now() >= self._people_from:
            command = [sys.executable, "-m", "benchmarks.chaos.people", "--out", str(self.out)]
            self._people = self.operated.start([*command, "--models", str(self.models)], self.out / "people.log")

    def end_people(self) -> None:
        """Have people come again with a new connection, as they do who know that the platform was gone."""
        if self._people is not None:
            self._people.kill()
            self._people.wait()

    def _waits_too_long(self) -> bool:
        begun = [t0 for op, _, t0 in self._watch.open if op != LABEL]
        return bool(begun) and now() - min(begun) > Deadlines().operation_s

    def _abandon(self) -> None:
        """Note that operations ended with the process that had begun them; those that hung stay without an end."""
        self._watch.update()
        for (op, identity, t0), line in list(self._watch.open.items()):
            if op == LABEL:
                continue
            hung = now() - t0 > Deadlines().operation_s
            end = {} if hung else {"abandoned": True}
            self._operations.write({**line, **end, "op": op, "id": identity, "t0": t0, "t1": now(), "ok": False})

    def finish(self) -> None:
        """End the load, let the writes settle, and write down what the platform holds."""
        self._end(self._people, signal.SIGTERM, Deadlines().operation_s)
        self._end(self._load, signal.SIGTERM, _LOAD_ENDS_WITHIN_S)
        self._load = self._people = None
        self.operated.client("verify", "--models", str(self.models), "--out", str(self.out), within_s=400.0)

    def close(self) -> None:
        """End whatever this campaign has started."""
        for process in (self._people, self._load):
            self._end(process, signal.SIGKILL, 10.0)
        with suppress(Called, Hung):
            self.operated.down()
        deadline = time.monotonic() + 20.0
        while (left := self.members()) and time.monotonic() < deadline:
            for member in left:
                member.send(signal.SIGKILL)

    @staticmethod
    def _end(process: subprocess.Popen[bytes] | None, with_signal: signal.Signals, within_s: float) -> None:
        if process is None:
            return
        process.send_signal(with_signal)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # --- troubles

    def members(self) -> list[Process]:
        """The platform's processes."""
        return members(self.operated.home, self._supervisor)

    def there(self) -> dict[str, list[Process]]:
        """Kind -> the platform's processes of it."""
        return kinds_there(self.kinds, self.members())

    def take_as_normal(self) -> None:
        """Remember how many processes of each kind there are when all is well."""
        there = self.there()
        self._normal = {kind.name: len(there[kind.name]) for kind in self.kinds if kind.returns}

    def has(self, kind: Kind) -> bool:
        """Whether there are processes of a kind when all is well."""
        return self._normal.get(kind.name, 0) > 0

    def supervisors(self) -> list[Process]:
        """The supervisor's processes, where there is one."""
        return self.there()["supervisor"]

    @contextmanager
    def trouble(
        self, kind: str, action: str, *, deadline_s: float = 60.0, amid: str | None = None, wait: bool = True
    ) -> Iterator[list[str]]:
        """Do in the body what is to be done; then wait until all is as before, intervene where it is not, journal it.

        The body is given a list to which it adds calls that hung. Without ``wait`` the next trouble comes at once.
        """
        at, hung = now(), list[str]()
        yield hung
        wanting = self._await(at, deadline_s, self.wanting) if wait else []
        # measured up to here: what people do now is not the platform's own doing
        until = now()
        interventions = self._intervene(hung) if wanting else []
        repaired = not wanting if wait else None
        done = Trouble(kind, action, at, until, repaired, amid, tuple(interventions), tuple(hung), ", ".join(wanting))
        self._troubles.write(asdict(done))
        told = f"{until - at:6.1f} s" if not wanting else f"not as before after {until - at:.0f} s: {done.wanting}"
        print(f"{action} {kind}: {told if wait else 'the next comes at once'}", flush=True)
        for each in (*interventions, *hung):
            print(f"    {each}", flush=True)

    def wanting(self, after: float) -> list[str]:
        """What is not as it was before the trouble that came at ``after``."""
        wanting = self._watch.wanting(after)
        if wanting:
            return wanting
        there = self.there()
        lacking = [kind for kind, count in self._normal.items() if len(there[kind]) < count]
        return [f"a {kind} process" for kind in lacking if kind != "candidate" or self.operated.tries(world.TRIED)]

    def _await(self, after: float, within_s: float, wanting: Callable[[float], list[str]]) -> list[str]:
        """Wait until nothing is wanting; what is, when the time is up."""
        deadline = now() + within_s
        while True:
            self.tick()
            left = wanting(after)
            if not left or now() > deadline:
                return left
            time.sleep(_POLL_S)

    def wait(self, seconds: float) -> None:
        """Let time pass, under load."""
        deadline = now() + seconds
        while now() < deadline:
            self.tick()
            time.sleep(min(_POLL_S, max(0.0, deadline - now())))

    def during(self, act: Callable[[], object]) -> None:
        """Do something that takes a while, and follow the journals meanwhile."""
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(act)
            while not doing.done():
                self.tick()
                time.sleep(_POLL_S)
            doing.result()

    def _intervene(self, hung: list[str]) -> list[str]:
        """What a person would do, until all is as before: ``up``; ``down`` and ``up``; deploy again.

        Raises:
            Called: Nothing helped.
        """
        done: list[str] = []
        redeploy = ("redeploy", "--models", str(self.models))
        for named, acts in (
            ("up", [self.operated.up]),
            ("down and up", [self.operated.down, self.operated.up]),
            ("deploy by hand", [lambda: self.operated.client(*redeploy)]),
        ):
            done.append(named)
            try:
                for act in acts:
                    self.during(act)
            except Called as error:
                done[-1] += f" ({error})"
                continue
            except Hung as error:
                hung.append(str(error))
                continue
            if not self._await(now(), _AFTER_UP_S if named != "up" else _AFTER_UP_S / 2, self.wanting):
                return done
        raise Called(f"nothing helped: {', '.join(done)}; wanting: {', '.join(self.wanting(now() - 2.0))}")
