from __future__ import annotations

import time
from pathlib import Path

import pytest

from raymlops.delivery.own_tests.suite import run_suite

from ..conftest import replace_pytest


@pytest.mark.parametrize(
    ("printed", "exit_code", "green", "counts"),
    [
        ("..\n2 passed in 0.1s", 0, True, (2, 0, 0)),
        ("==== 2 passed, 3 skipped, 1 warning in 0.1s ====\nbye", 0, True, (2, 0, 3)),
        ("1 failed, 2 passed, 2 errors in 0.1s", 1, False, (2, 3, 0)),
        ("1 error in 0.1s", 2, False, (0, 1, 0)),
        ("1 skipped in 0.1s", 0, False, (0, 0, 1)),
        ("no tests ran in 0.1s", 5, False, (0, 0, 0)),
        ("2 passed in 0.1s", 3, False, (2, 0, 0)),
        ("", -9, False, (0, 0, 0)),
    ],
)
def test_green_is_passed_and_nothing_else(
    tmp_path: Path, printed: str, exit_code: int, green: bool, counts: tuple[int, int, int]
) -> None:
    end = f"os._exit({exit_code})" if exit_code >= 0 else "os.kill(os.getpid(), 9)"
    replace_pytest(tmp_path, f"import os\nprint({printed!r}, flush=True)\n{end}")
    report = run_suite(tmp_path, tmp_path / "home", timeout_s=20)
    assert (report.green, tuple(report.counts.values())) == (green, counts)
    assert f"(exit code {exit_code})" in report.summary
    assert report.output.strip() == printed


def test_what_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    code = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
    replace_pytest(tmp_path, code)
    report = run_suite(tmp_path, tmp_path / "home", timeout_s=1)
    assert (report.green, report.summary) == (False, "killed after 1 s")
    deadline = time.monotonic() + 10
    while _alive(int(report.output)):
        assert time.monotonic() < deadline, "the child outlived its killed parent"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # A zombie is dead: nobody may have reaped it yet.
    return state != "Z"
