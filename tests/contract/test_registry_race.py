"""Two processes that promote at once: one wins, the other is told that its write is stale."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from raymlops.metadata import MetadataService
from raymlops.testing.metadata_examples import example_draft, example_plan

ROUNDS = 25

_PROMOTER = """
import sys
from raymlops.errors import StaleWrite
from raymlops.metadata import MetadataService
from raymlops.testing.metadata_examples import example_plan

url, who, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
service = MetadataService(url)
print("ready", flush=True)
for number in range(2, rounds + 2):
    sys.stdin.readline()
    expected, answers = service.models.aliases("churn")["champion"], []
    print("read", flush=True)
    sys.stdin.readline()
    for write in (
        lambda: service.models.set_alias("churn", "champion", who, expected=expected, reason=f"by {who}"),
        lambda: service.plans.put_plan(example_plan(number, champion=who)),
    ):
        try:
            write()
            answers.append("won")
        except StaleWrite:
            answers.append("stale")
    print(*answers, flush=True)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/metadata.db"
    host = request.getfixturevalue("postgres")
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(f"host={host} user=raymlops dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE raced")
    return f"postgresql://raymlops@/raced?host={host}"


def test_of_two_processes_that_promote_at_once_one_wins(url: str) -> None:
    with closing(MetadataService(url)) as service:
        for key in ("champion", "left", "right"):
            service.models.register_version(example_draft(), key=key)
        service.models.set_alias("churn", "champion", 1, expected=None, reason="first")
        service.plans.put_plan(example_plan(1))
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _PROMOTER, url, str(who), str(ROUNDS)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for who in (2, 3)
        ]  # fmt: skip
        try:
            assert _each(processes) == ["ready", "ready"]
            for number in range(2, ROUNDS + 2):
                _go(processes)
                assert _each(processes) == ["read", "read"], "both have seen the same champion"
                _go(processes)
                answers = [answer.split() for answer in _each(processes)]
                assert sorted(alias for alias, _ in answers) == ["stale", "won"], f"round {number}"
                assert sorted(plan for _, plan in answers) == ["stale", "won"], f"round {number}"
                winner = 2 + [alias for alias, _ in answers].index("won")
                assert service.models.aliases("churn") == {"champion": winner}
                assert service.plans.get_plan("churn").champion == 2 + [plan for _, plan in answers].index("won")
                service.models.set_alias("churn", "champion", 1, expected=winner, reason="again")
            assert [process.wait(20) for process in processes] == [0, 0]
        finally:
            for process in processes:
                process.kill()
                process.communicate(timeout=20)
        assert [change.version for change in service.models.alias_history("churn")][::2] == [1] * (ROUNDS + 1)
        assert [plan.number for plan in service.plans.list_plans("churn")] == list(range(1, ROUNDS + 2))


def _go(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
    for process in processes:
        assert process.stdin is not None
        process.stdin.flush()


def _each(processes: list[subprocess.Popen[str]]) -> list[str]:
    found = []
    for process in processes:
        assert process.stdout is not None
        found.append(process.stdout.readline().strip())
    return found
