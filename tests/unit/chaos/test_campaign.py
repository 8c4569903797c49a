"""The parts of a chaos campaign that need no platform: its known answers, its schedule, its victims, its report."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.chaos import kills, report, world
from benchmarks.chaos.journal import Journal, Tail, now
from benchmarks.chaos.judge import Measured, Verdict
from benchmarks.chaos.trace import PROMOTE, PUSH, Request, Trouble
from benchmarks.chaos.victims import KINDS, Kind, Process, kinds_there, members, target_of
from benchmarks.chaos.watch import KnownAnswers, Watch

SUPERVISOR = next(kind for kind in KINDS if kind.name == "supervisor")


@pytest.mark.parametrize("model", [each.name for each in world.MODELS if each.service is None])
def test_no_two_versions_answer_alike(model: str) -> None:
    for item in range(world.ROWS):
        first, second = (world.expected(model, version, item) for version in world.VERSIONS)
        assert not world.is_close(first, second)


def test_an_answer_by_key_tells_the_generation_it_comes_from() -> None:
    answers = KnownAnswers()
    for generation in (0, 1, 4800):
        rows = world.rows_of(generation, datetime.now(UTC)).select(["generation", "place"]).to_pandas().to_numpy()
        for version in world.VERSIONS:
            for item, value in enumerate(world.estimator("fed", version).predict(rows)):
                assert answers.generation("fed", version, item, float(value)) == generation
                assert answers.generation("fed", version, item, float(value) + 0.01) is None
    assert answers.generation("fed", 3, 0, 1.0) is None
    assert answers.expected("sums", 3, 0) is None


def test_a_seed_is_a_schedule_and_every_kind_is_in_it() -> None:
    planned = kills.plan(7, 200, 10, KINDS)
    assert planned == kills.plan(7, 200, 10, KINDS)
    assert planned != kills.plan(8, 200, 10, KINDS)
    counted = Counter(each.kind for each in planned)
    assert counted[kills.TREE] + counted[kills.TREE_BUT_SUPERVISOR] == 10
    assert sum(counted.values()) == 210
    assert all(counted[kind.name] >= 2 for kind in KINDS)
    assert 5 < sum(each.amid for each in planned) < 60
    assert not any(
        each.amid and (each.kind.startswith(kills.TREE) or before.kind.startswith(kills.TREE))
        for before, each in pairwise(planned)
    )


def test_a_process_is_of_one_kind() -> None:
    titles = {
        "ray::ServeReplica:model-pairs:ModelReplica.handle": "one of two replicas",
        "ray::ServeReplica:model-sums:ModelReplica": "only replica",
        "ray::ServeReplica:candidate-trees-2:CandidateReplica": "candidate",
        "ray::ServeReplica:gateway:GatewayReplica": "gateway",
        "python -m raymlops.runtime.supervision.haproxy_keeper /s/haproxy.cfg -db -f /s/haproxy.cfg": "HAProxy guard",
        "/s/haproxy.cfg -db -f /s/haproxy.cfg.closed -dR": "HAProxy",
        "ray-dashboard-JobHead-0 (python -B -c ...)": "dashboard's job module",
    }
    there = [Process(number, 0.0, title) for number, title in enumerate(titles)]
    found = {process.title: kind for kind, those in kinds_there(KINDS, there).items() for process in those}
    assert found == titles


def test_only_the_platform_of_a_home_is_found(tmp_path: Path) -> None:
    """A process with the marker of the home's cluster is a member; with another's, or with none, it is not."""
    (tmp_path / "cluster.json").write_text('{"session_id": -1, "cluster_id": "c0ffee"}')
    marks = ({"RAYMLOPS_CLUSTER": "c0ffee"}, {"RAYMLOPS_CLUSTER": "0ther"}, {})
    started = [
        subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            env={**os.environ, **mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for mark in marks
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        assert [member.pid for member in members(tmp_path, re.compile(SUPERVISOR.pattern))] == [started[0].pid]
    finally:
        for process in started:
            process.communicate(b"\n", timeout=10)


def test_a_line_that_is_half_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    tail = Tail(path)
    assert list(tail.read()) == []
    Journal(path).write([1, "a"])
    with path.open("ab") as file:
        file.write(b'{"half"')
    assert list(tail.read()) == [[1, "a"]]
    with path.open("ab") as file:
        file.write(b": 1}\n")
    assert list(tail.read()) == [{"half": 1}]


def test_what_is_wanting_is_told_until_all_is_as_before(tmp_path: Path) -> None:
    watch, killed = Watch(tmp_path, ["sums"]), now() - 5.0
    requests, operations = Journal(tmp_path / "requests.jsonl"), Journal(tmp_path / "operations.jsonl")

    def wanting() -> list[str]:
        watch.update()
        return watch.wanting(killed)

    def answer(ago_s: float, status: int = 200, version: int = 1) -> None:
        at = now() - ago_s
        requests.write(list(Request(at, at, at, "sums", 0, status, version, world.expected("sums", 1, 0), "champion")))

    assert wanting() == ["answers of sums", "an acknowledged push", "an acknowledged promote"]
    pushed = {"op": PUSH, "id": "push-1", "t0": killed - 1.0, "generation": 1}
    operations.write(pushed)
    assert len(wanting()) == 3
    assert list(watch.open) == [(PUSH, "push-1", killed - 1.0)]
    operations.write({**pushed, "t1": killed + 2.0, "ok": True})
    assert "an acknowledged push" in wanting(), "it had begun before"
    for op in (PUSH, PROMOTE):
        operations.write({**pushed, "op": op, "t0": killed + 1.0, "t1": killed + 2.0, "ok": True})
    for ago_s in (2.0, 1.5, 0.2):
        answer(ago_s)
    assert wanting() == []
    answer(0.1, version=2)
    assert wanting() == ["answers of sums"], "version 2 does not give that"
    answer(0.05)
    assert wanting() == ["answers of sums"], "not for long enough"


def _measured(kind: str, at: float, outage_s: float, **changes: object) -> Measured:
    trouble = replace(Trouble(kind, "kill", at, at + 2.0, True), **changes)  # type: ignore[arg-type]
    return Measured(trouble, outage_s, {"sums": outage_s}, 3, {200: 5, 503: 3}, 2.0 if trouble.repaired else None)


def test_a_row_is_a_kind_and_what_came_together_is_apart() -> None:
    measured = [
        _measured("HAProxy", 1.0, 0.5),
        _measured("HAProxy", 10.0, 3.5, repaired=False, wanting="answers of sums", interventions=("up",)),
        _measured("metadata", 20.0, 1.0),
        _measured("raylet", 21.0, 9.0, amid="metadata"),
    ]
    about = {"seed": 7, "date": "today", "minutes": 1, "models": 3, "requests": 8, "acknowledged": 2}
    document = report.figures(measured, Verdict(wrong=["one"]), about)
    rows = {row["victim"]: row for row in document["victims"]}
    assert set(rows) == {"HAProxy", "two at once"}
    proxy = rows["HAProxy"]
    assert (proxy["count"], proxy["outage_median_s"], proxy["outage_max_s"]) == (2, 2.0, 3.5)
    assert (proxy["target_s"], proxy["within_target"], proxy["not_repaired"], proxy["interventions"]) == (
        2,
        False,
        1,
        1,
    )
    assert proxy["statuses"] == {"200": 10, "503": 6}
    assert (document["passed"], document["wrong"]["count"]) == (False, 1)
    page = report.into_page(f"before\n{report.BEGIN}\nold\n{report.END}\nafter", report.markdown(document))
    assert page.startswith(f"before\n{report.BEGIN}\nTaken on today, seed 7")
    assert page.endswith(f"{report.END}\nafter")
    assert "| HAProxy | 2 | 2 s | 3.5 s | 2 s | 6 | 2 s | 1 | 1 |" in page
    with pytest.raises(ValueError, match="must hold"):
        report.into_page("no marks", "")


def test_targets_are_those_that_were_asked_for() -> None:
    assert {target_of(kind.name) for kind in KINDS if kind.pattern.startswith("^ray::") and kind.weight == 1} <= {
        0,
        1,
        None,
    }
    assert (target_of("HAProxy"), target_of("raylet"), target_of(kills.TREE)) == (2, 45, 45)
    assert isinstance(KINDS[0], Kind)
