"""A platform that watches a repository, and a checkout of it: what a team has that delivers models."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.delivered_project import Commands, commit, push

__all__ = ["REHEARSE", "WAIT_S", "DeliveryWorld"]

WAIT_S = 300.0
"""Deadline of what a platform does by itself."""
REHEARSE: Mapping[str, Any] = {
    "rehearse": True,
    "rows_from": "prod",
    "rate_per_s": 20.0,
    "p99": "5s",  # what a busy machine keeps, too
    "load_for": "3s",
}
"""Rules of an environment that tries what it is to serve."""


class DeliveryWorld:
    """A platform in processes of its own, used through its command line.

    Args:
        place: An empty directory.
        branches: Branch -> environment.
        environments: Environment -> rules; the platform's own is ``prod``.
        trusted: Environment -> whether it takes what the platform has signed, and nothing else.
        cpus: Logical CPUs of the platform.
    """

    def __init__(
        self,
        place: Path,
        branches: Mapping[str, str],
        environments: Mapping[str, Mapping[str, Any]],
        trusted: Mapping[str, bool],
        cpus: int = 5,
    ) -> None:
        from dulwich.repo import Repo

        self.place, self.origin, self.checkout = place, place / "origin.git", place / "checkout"
        self.home = place / "home"
        self.origin.mkdir()
        Repo.init_bare(str(self.origin), default_branch=b"main").close()
        self.run = Commands(place / "platform.yaml")
        key = place / "ci.pem"
        builder = {"builders": {"ci": self.run("delivery", "keygen", str(key)).stdout.strip()}}
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            "home": str(self.home),
            "environment": "prod",
            "serving": {"port": port},
            "metadata": {"mlflow": False},
            "cluster": {
                "num_cpus": cpus,
                "object_store_bytes": 100 << 20,
                "start_timeout": "5m",
                "boot_timeout": "5m",
            },
            "delivery": {
                "signing_key": str(key),
                "source": {"url": str(self.origin), "every": "1s", "branches": dict(branches)},
                "environments": {
                    name: {**rules, **(builder if trusted.get(name) else {})} for name, rules in environments.items()
                },
            },
        }
        (place / "platform.yaml").write_text(yaml.safe_dump(settings))

    def start(self) -> None:
        started = self.run("up")
        assert started.returncode == 0, started.stderr

    def stop(self) -> None:
        self.run("down")

    def pushed(self, message: str, branch: str = "main") -> dict[str, Any]:
        """Commit and push the checkout; what became of the commit."""
        made = commit(self.checkout, message)
        push(self.checkout, self.origin, branch)
        return self.ended(made)

    def approved(self, digest: str, environment: str, who: str) -> None:
        """Somebody gets a key for an environment, and approves a bundle with it."""
        file = self.place / f"{who}.key"
        file.write_text(self.run("keys", "create", who, "--grant", f"operate:env/{environment}").stdout)
        self.run.json("delivery", "approve", digest, "--env", environment, "--key-file", str(file))

    def ended(self, made: str) -> dict[str, Any]:
        """What became of a commit, once that is known."""
        file, deadline = self.home / "commits" / f"{made}.json", time.monotonic() + WAIT_S
        while True:
            told: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"state": "pending"}
            if told["state"] != "pending":
                return told
            assert time.monotonic() < deadline, told
            time.sleep(0.5)

    def served(self) -> dict[str, int]:
        """Model -> the version that answers."""
        told = self.run.json("status", "--json")
        return {each["model"]: each["champion"] for each in told["endpoints"] if each["answers"]}

    def live(self) -> dict[str, str]:
        """Environment -> its bundle."""
        return {each["environment"]: each["bundle"] for each in self.run.json("delivery", "environments", "--json")}


def _free_port() -> int:
    for port in random.sample(range(20_000, 30_000), 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("none of 50 ports is free")
