"""A command that is asked to end stops what it started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, pathlib, sys
from raymlops.cli import main

def command():
    try:
        print("started", flush=True)
        asyncio.run(asyncio.sleep(60))
    finally:
        pathlib.Path(sys.argv[1]).write_text("stopped what it started")

main.app = command
main.main()
"""


def test_sigterm_ends_a_command_as_an_interrupt_does(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(told)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            process.kill()
    assert told.read_text() == "stopped what it started"
