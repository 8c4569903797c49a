"""The platform as an operator holds it: its home, its commands, and whoever its webhooks reach."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import yaml

from benchmarks.chaos.journal import now

__all__ = ["Called", "Hung", "Operated", "Receiver", "free_port"]

ROOT = Path(__file__).resolve().parents[2]
_CLI = [sys.executable, "-m", "raymlops.cli.main"]
UP_WITHIN_S, DOWN_WITHIN_S, CLIENT_WITHIN_S = 240.0, 60.0, 240.0


class Hung(Exception):
    """A command did not return within its deadline."""


class Called(Exception):
    """A command returned an error."""


def free_port() -> int:
    """A port below those that the kernel hands out, for Ray's processes ask for many before HAProxy binds its one."""
    for port in random.SystemRandom().sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("of 100 ports none is free")


class Receiver:
    """Takes webhooks, and answers them as long as ``talks`` is set."""

    def __init__(self) -> None:
        self.talks = threading.Event()
        self.talks.set()
        self.heard = 0
        receiver = self

        class _Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.talks.wait()
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                receiver.heard += 1
                # whoever asked may have gone while nothing was said
                with suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        self.talks.set()
        self._server.shutdown()
        self._server.server_close()


class Operated:
    """One platform in a home of its own.

    Args:
        home: Its home.
        webhook: Where its alerts go.
        settings: Sections of the configuration, besides those that every campaign has.
    """

    def __init__(self, home: Path, webhook: str, settings: dict[str, Any] | None = None) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given = {name: value for name, value in os.environ.items() if not name.startswith(("RAYMLOPS_", "RAY_"))}
        self.environment = {
            **given,
            "RAYMLOPS_HOME": str(home),
            "RAYMLOPS_SERVING__PORT": str(self.port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        home.mkdir(parents=True, exist_ok=True)
        self._config = home.parent / f"{home.name}.yaml"
        sections = {
            "cluster": {"num_cpus": 4},
            "monitoring": {"alerts": {"webhooks": [{"name": "chaos", "url": webhook}]}},
            **(settings or {}),
        }
        self._config.write_text(yaml.safe_dump({"home": str(home), **sections}))

    def up(self) -> float:
        """``raymlops up``; how long it took.

        Raises:
            Called: It failed.
            Hung: It did not return.
        """
        started = now()
        self.call([*_CLI, "up", "--config", str(self._config)], UP_WITHIN_S)
        return now() - started

    def down(self) -> None:
        """``raymlops down``."""
        self.call([*_CLI, "down"], DOWN_WITHIN_S)

    def client(self, *arguments: str, within_s: float = CLIENT_WITHIN_S) -> str:
        """One thing that a client asks; what it printed."""
        return self.call([sys.executable, "-m", "benchmarks.chaos.client", *arguments], within_s)

    def tries(self, model: str) -> bool:
        """Whether a model's plan, as it is on disk, has a candidate on trial."""
        with closing(sqlite3.connect(f"file:{self.home / 'metadata.db'}?mode=ro", uri=True)) as database:
            newest = "SELECT body FROM plans WHERE model = ? ORDER BY number DESC LIMIT 1"
            found = database.execute(newest, (model,)).fetchone()
        return found is not None and orjson.loads(found[0])["trial"] is not None

    def promote(self, model: str, version: int, reason: str) -> subprocess.Popen[bytes]:
        """A command-line client that has just been started."""
        command = [*_CLI, "models", "promote", model, str(version), "--reason", reason]
        return self.start(command, None)

    def start(self, command: list[str], log: Path | None) -> subprocess.Popen[bytes]:
        """A process that goes on beside the campaign."""
        with (log or Path(os.devnull)).open("ab") as sink:
            return subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.STDOUT
            )

    def call(self, command: list[str], within_s: float) -> str:
        """Run a command to its end; one that hangs is ended."""
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        named = " ".join(command[2:])
        try:
            out, error = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            raise Hung(f"{named}: no return within {within_s:g} s") from None
        if process.returncode != 0:
            last = (error.strip() or out.strip()).splitlines()[-1:] or ["no output"]
            raise Called(f"{named}: exit code {process.returncode}: {last[0][:300]}")
        return out
