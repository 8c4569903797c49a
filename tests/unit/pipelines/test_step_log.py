from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raymlops.errors import NotFoundError, StorageError
from raymlops.pipelines import StepLogs


def test_what_is_printed_logged_and_raised_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = StepLogs(tmp_path / "logs")
    with logs.capture(0, "load", 1):
        sys.stdout.write("to stdout\n")
        sys.stderr.write("to stderr\n")
        logging.getLogger("user.code").warning("logged %d", 7)
        thread = threading.Thread(target=lambda: sys.stdout.write("of a thread\n"))
        thread.start()
        thread.join()
    with pytest.raises(ZeroDivisionError), logs.capture(1, "fit", 1):
        raise ZeroDivisionError("no rows")
    logs.note(1, "fit", 2, "taken over: same")
    sys.stdout.write("after\n")
    loaded = logs.read("load")
    assert loaded.startswith("==> load.1 <==\nto stdout\nto stderr\n")
    assert "WARNING user.code: logged 7" in loaded
    assert "of a thread" in loaded
    assert "after" not in logs.read()
    assert logs.read().index("==> load.1") < logs.read().index("==> fit.1") < logs.read().index("==> fit.2")
    assert "ZeroDivisionError: no rows" in logs.read("fit")
    assert capsys.readouterr().out.splitlines() == ["to stdout", "of a thread", "after"], "it goes where it went, too"


def test_a_process_that_is_killed_leaves_its_log(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from raymlops.pipelines import StepLogs\n"
        "with StepLogs(pathlib.Path(sys.argv[1])).capture(3, 'tune', 1):\n"
        "    print('trial 1 of 8')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert StepLogs(tmp_path).read("tune") == "==> tune.1 <==\ntrial 1 of 8\n"


def test_steps_that_have_no_log_are_named(tmp_path: Path) -> None:
    logs = StepLogs(tmp_path / "logs")
    assert logs.read() == ""
    logs.note(0, "load", 1, "taken over")
    with pytest.raises(NotFoundError, match=r"no log of step 'fit': there are logs of \['load'\]"):
        logs.read("fit")


def test_a_directory_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="00-load"), StepLogs(tmp_path / "file").capture(0, "load", 1):
        pass


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path) -> None:
    logs = StepLogs(tmp_path)
    logs.note(0, "load", 1, "é" * 10)
    logs.note(1, "fit", 1, "x" * 100_000 + "the end")
    assert logs.read(last_bytes=8) == "==> load.1 <==\n\ufffdééé\n==> fit.1 <==\nthe end\n"
    assert len(logs.read("fit")) > 100_000
    with (tmp_path / "01-fit.1.log").open("ab") as file:
        file.write("é".encode()[:1])
    assert logs.read("fit").endswith("the end\n\ufffd"), "it is read while somebody writes"
