"""What is killed while the loop runs, and what it costs callers."""

from __future__ import annotations

import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.chaos.victims import KINDS, members, of_kind
from benchmarks.demo_cluster.nodes import Node, Nodes
from raymlops.platform import Platform
from raymlops.runtime import create_key

__all__ = ["Fault", "Faults"]

_LOOK_S, _ASK_S = 0.2, 0.1
_BETWEEN_ACTORS_S = (15.0, 40.0)
_REJOIN_S = 3.0
"""How long after a node's death the next one joins, as an autoscaler would have it."""
_TRIAL = re.compile(r"^ray::(_Trial|ImplicitFunc|ResourceTrainable|bundle_)")
_UNDER_WAY_S = 20.0
"""A retraining that has had no trial on another node for so long is taken as it is."""
_SUPERVISOR = re.compile(r"raymlops\S*supervis")
_ACTORS = tuple(kind for kind in KINDS if kind.name in ("metadata", "features", "monitor", "controller", "reconciler"))


@dataclass
class Fault:
    """One kill.

    Attributes:
        at_s: Seconds after the platform was up.
        replay_at: The instant of the replay, as text.
        what: What was killed, and amid what.
        unanswered: Looks at the endpoint that failed from then on until the next kill or the end.
        outage_s: The longest time without an answer, likewise.
    """

    at_s: float
    replay_at: str
    what: str
    unanswered: int = 0
    outage_s: float = 0.0


class Faults:
    """A thread that kills a node in the first retraining, one in the first canary, and the control actors by chance.

    Args:
        platform: Up, with nodes.
        nodes: Its worker nodes.
        model: The model whose retraining and canary are waited for.
        seed: Draws which actor dies, and when.
        tell: Called with each kill.
    """

    def __init__(self, platform: Platform, nodes: Nodes, model: str, seed: int, tell: Callable[[str], None]) -> None:
        self._platform = platform
        self._nodes = nodes
        self._model = model
        self._tell = tell
        self._draw = random.Random(seed)
        _, key = create_key(platform.config, "faults", ["read"], "looks whether the endpoint answers")
        url = f"{platform.url}/v2/models/{model}"
        self._asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
        self._over = threading.Event()
        self._began_s = time.monotonic()
        self._threads = [threading.Thread(target=self._kill_all, name="faults"), threading.Thread(target=self._ask)]
        self._error: BaseException | None = None
        self._running_since: dict[str, float] = {}
        self.faults: list[Fault] = []
        self.pending = {"retraining", "canary"}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _kill_all(self) -> None:
        try:
            due_s = time.monotonic() + self._draw.uniform(*_BETWEEN_ACTORS_S)
            while not self._over.wait(_LOOK_S):
                self._kill_nodes()
                if self._served() and time.monotonic() > due_s:
                    self._kill_actor()
                    due_s = time.monotonic() + self._draw.uniform(*_BETWEEN_ACTORS_S)
        except BaseException as error:
            self._error = error

    def _served(self) -> bool:
        """Whether the first model answers: what is before is no part of what is compared."""
        return self._platform.metadata.plans.find_plan(self._model) is not None

    def _kill_nodes(self) -> None:
        if not self.pending or not self._served():
            return
        if "retraining" in self.pending and (node := self._in_a_retraining()) is not None:
            self._kill_node(node, "retraining")
        plan = self._platform.metadata.plans.find_plan(self._model)
        if "canary" in self.pending and plan is not None and plan.trial is not None:
            self._kill_node(self._node_with(re.compile("ray::ServeReplica:candidate-")), "canary")

    def _in_a_retraining(self) -> Node | None:
        """The node to kill where a retraining is under way: one that runs a trial; after a while, any."""
        now_s = time.monotonic()
        running = [run.id for run in self._platform.metadata.runs.list_runs() if not run.status.final]
        since = {run: self._running_since.setdefault(run, now_s) for run in running}
        if not since:
            return None
        for node in self._nodes.there:
            if any(_TRIAL.search(title) for title in node.titles()):
                return node
        late = now_s - min(since.values()) > _UNDER_WAY_S
        return self._node_with(re.compile(f"ray::ServeReplica:model-{self._model}")) if late else None

    def _node_with(self, process: re.Pattern[str]) -> Node:
        """A node that runs such a process; where none does, one by chance."""
        found = [node for node in self._nodes.there if any(process.search(title) for title in node.titles())]
        return self._draw.choice(found or self._nodes.there)

    def _kill_node(self, node: Node, amid: str) -> None:
        self.pending.remove(amid)
        ran = sorted({title.partition(":model-")[0] for title in node.titles() if title.startswith("ray::Serve")})
        self._note(f"node {node.name} during a {amid} ({', '.join(ran) or 'no replica'} on it)")
        self._nodes.kill(node)
        if not self._over.wait(_REJOIN_S):
            began_s = time.monotonic()
            joined = self._nodes.join()
            self._tell(f"    node {joined.name} joined, {joined.joined_at_s - began_s:.0f} s after it was started")

    def _kill_actor(self) -> None:
        kind = self._draw.choice(_ACTORS)
        for process in of_kind(kind, members(self._platform.config.home, _SUPERVISOR)):
            self._note(f"{kind.name} actor")
            process.send(9)

    def _note(self, what: str) -> None:
        at = self._platform.clock.now()
        fault = Fault(time.monotonic() - self._began_s, f"{at:%Y-%m-%d}", what)
        self.faults.append(fault)
        self._tell(f"    killed {what}, {fault.at_s:.0f} s, {fault.replay_at}")

    def _ask(self) -> None:
        """Look again and again whether the endpoint answers; without predictions, which would change the windows."""
        answered_s, begun = time.monotonic(), False
        while not self._over.wait(_ASK_S):
            try:
                urllib.request.urlopen(self._asked, timeout=10).close()
                begun, ok = True, True
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                ok = False
            now_s = time.monotonic()
            if begun and not ok and self.faults:
                self.faults[-1].unanswered += 1
                self.faults[-1].outage_s = max(self.faults[-1].outage_s, now_s - answered_s)
            answered_s = now_s if ok else answered_s
