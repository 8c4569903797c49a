from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from raymlops.errors import StaleWrite
from raymlops.metadata import MetadataService
from raymlops.testing.metadata_examples import example_draft, example_plan, example_run

_THREADS = 8


@pytest.fixture
def service(tmp_path: Path) -> Iterator[MetadataService]:
    with closing(MetadataService(tmp_path / "metadata.db")) as service:
        yield service


def _in_threads(work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(_THREADS)

    def run(number: int) -> None:
        try:
            start.wait(10)
            work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_threads_append_to_one_chain_and_share_keys(service: MetadataService) -> None:
    def work(number: int) -> None:
        for turn in range(20):
            own = service.ledger.append_entry("churn", "note", "own", key=f"{number}-{turn}")
            shared = service.ledger.append_entry("churn", "note", "shared", key=f"shared-{turn}")
            assert service.ledger.entries(after=own.sequence - 1)[0] == own
            assert shared.key == f"shared-{turn}"

    _in_threads(work)
    assert service.ledger.verify_ledger() == (_THREADS + 1) * 20


def test_threads_that_read_decide_and_set_lose_no_update(service: MetadataService) -> None:
    for version in range(_THREADS * 5):
        service.models.register_version(example_draft(), key=str(version))

    def work(number: int) -> None:
        won = 0
        while won < 5:
            present = service.models.aliases("churn").get("champion")
            try:
                service.models.set_alias(
                    "churn", "champion", (present or 0) + 1, expected=present, reason=f"by {number}"
                )
            except StaleWrite:
                continue
            won += 1

    # An equal repeat is accepted, so two threads may share a step; none may be skipped.
    _in_threads(work)
    versions = [change.version for change in service.models.alias_history("churn")]
    assert versions == list(range(1, len(versions) + 1))


def test_each_plan_number_has_one_winner(service: MetadataService) -> None:
    wins: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for plan_number in range(1, 11):
            try:
                service.plans.put_plan(example_plan(plan_number, champion=number + 1))
            except StaleWrite:
                continue
            wins.append((plan_number, number + 1))

    _in_threads(work)
    stored = [(plan.number, plan.champion) for plan in service.plans.list_plans("churn")]
    assert sorted(wins) == stored
    assert [number for number, _ in stored] == list(range(1, len(stored) + 1))


def test_threads_register_gapless_versions_and_runs(service: MetadataService) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            service.runs.create_run(example_run(f"run-{turn}"))
            service.models.register_version(example_draft(), key=f"{number}-{turn}")
            service.models.register_version(example_draft(), key=f"shared-{turn}")

    _in_threads(work)
    versions = [version.version for version in service.models.list_versions("churn")]
    assert versions == list(range(1, (_THREADS + 1) * 5 + 1))
    assert len(service.runs.list_runs()) == 5


_WRITER = """
import sys, threading
from pathlib import Path
from raymlops.metadata import MetadataService
from raymlops.testing.metadata_examples import example_draft, example_plan

service = MetadataService(Path(sys.argv[1]))

def append(name):
    for number in range(100_000):
        entry = service.ledger.append_entry("churn", "note", "x" * 200, {"n": number}, key=f"{name}-{number}")
        print(f"entry {entry.key} {entry.hash}\\n", end="", flush=True)
        version = service.models.register_version(example_draft(), key=f"{name}-{number}")
        print(f"version {name}-{number} {version.version}\\n", end="", flush=True)

for name in "abc":
    threading.Thread(target=append, args=(name,)).start()
"""


@pytest.mark.parametrize("acknowledged", [1, 150])
def test_sigkill_while_appending_loses_no_acknowledged_write(tmp_path: Path, acknowledged: int) -> None:
    database, output = tmp_path / "metadata.db", tmp_path / "acknowledged"
    with output.open("wb") as sink:
        command = [sys.executable, "-c", _WRITER, str(database)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as lines:
            for _ in range(acknowledged):
                sink.write(lines.readline())
            os.kill(process.pid, signal.SIGKILL)
            # What was acknowledged before the signal struck may still be in the pipe.
            sink.write(lines.read())
        assert process.wait(10) == -signal.SIGKILL
    promised = [line.split() for line in output.read_text().splitlines() if line.count(" ") == 2]
    assert len(promised) >= acknowledged
    with closing(MetadataService(database)) as service:
        entries = {entry.key: entry for entry in service.ledger.entries()}
        assert service.ledger.verify_ledger() == len(entries)
        versions = service.models.list_versions("churn")
        assert [version.version for version in versions] == list(range(1, len(versions) + 1))
        for kind, key, value in promised:
            if kind == "entry":
                assert entries[key].hash == value
                assert service.ledger.append_entry("churn", "note", "again", key=key) == entries[key]
            else:
                again = service.models.register_version(example_draft(), key=key)
                assert again.version == int(value)
        assert service.ledger.verify_ledger() == len(entries)
        assert len(service.models.list_versions("churn")) == len(versions)


def test_importing_the_package_loads_neither_mlflow_nor_ray() -> None:
    code = "import sys, raymlops.metadata; sys.exit(bool({'mlflow', 'ray', 'xgboost', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
