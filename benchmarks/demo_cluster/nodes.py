"""Ray nodes on this machine that share no disk: each sees directories of its own where the others have theirs."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import ray

from raymlops.platform import Platform
from raymlops.replay.settings import free_port
from raymlops.runtime.supervision.head import auth_environment
from raymlops.runtime.supervision.home_note import ClusterNote, noted_cluster

__all__ = ["Node", "Nodes", "head_address"]

_UP_S = 120.0
_LOOK_S = 0.1
_OBJECTS_BYTES = 100 << 20
_FIRST = 2
"""The first node is ``127.0.0.2``, and so on: each has an address of its own, as machines have."""


class Node:
    """A worker node: ``ray start`` and all that comes of it.

    Attributes:
        name: For people.
        address: Its IP address.
        joined_at_s: When it was up, on the monotonic clock.
    """

    def __init__(self, name: str, address: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.address = address
        self.joined_at_s = 0.0
        self._process = process

    def titles(self) -> list[str]:
        """What its processes are called."""
        found = []
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                found.append(" ".join(process.cmdline()).strip())
        return found

    def kill(self) -> int:
        """SIGKILL of its raylet, then of everything else of it at once; returns how many processes."""
        tree = self._tree()
        for process in sorted(tree, key=lambda each: not _is_raylet(each)):
            with contextlib.suppress(psutil.Error):
                process.kill()
        _, stayed = psutil.wait_procs(tree, timeout=_UP_S)
        self._process.wait(_UP_S)
        if stayed:
            raise RuntimeError(f"processes of node {self.name} stayed after SIGKILL: {stayed}")
        return len(tree)

    def ended(self) -> int | None:
        """Exit code of ``ray start``, which ends when a part of its node does; ``None`` while it runs."""
        return self._process.poll()

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [*root.children(recursive=True), root]
        except psutil.NoSuchProcess:
            return []


class Nodes:
    """The worker nodes of a platform's own cluster.

    Args:
        platform: Whose cluster they join.
        directory: Short; each node gets a directory in it, for its home and for Ray's own files.
        cpus: Logical CPUs of each.
    """

    def __init__(self, platform: Platform, directory: Path, cpus: int) -> None:
        self._config = platform.config
        note = noted_cluster(platform.config.home)
        assert note is not None
        self._note: ClusterNote = note
        self._directory = directory
        self._cpus = cpus
        self._made = 0
        self.there: list[Node] = []
        self.apart = _may_mount(directory)
        """Whether the kernel keeps the nodes' files apart; where it does not, they see one another's."""

    def join(self) -> Node:
        """Start a node, and wait until it is up.

        Raises:
            RuntimeError: It does not come up.
        """
        name, address = f"n{self._made + 1}", f"127.0.0.{_FIRST + self._made}"
        self._made += 1
        home, temporary = self._directory / name / "home", self._directory / name / "ray"
        for directory in (home, temporary):
            directory.mkdir(parents=True, mode=0o700)
        shutil.copy(self._config.home / "auth_token", home)  # as an operator would bring it to another machine
        token = home if not self.apart else self._config.home
        environment = {
            **os.environ,
            **auth_environment(token),
            **self._config.cluster.fast.environment(),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        }
        with (self._directory / name / "log").open("wb") as log:
            process = subprocess.Popen(
                [*self._masked(home), *self._command(address, temporary)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        node = Node(name, address, process)
        self.there.append(node)
        self._await(node)
        return node

    def home(self, node: Node) -> Path:
        """What a node has in place of the head's home."""
        return self._directory / node.name / "home"

    def kill(self, node: Node) -> int:
        """As ``Node.kill``; the node will not come back."""
        self.there.remove(node)
        return node.kill()

    def close(self) -> None:
        """End all that is left."""
        for node in list(self.there):
            self.kill(node)

    def _command(self, address: str, temporary: Path) -> list[str]:
        options = {
            "address": self._note.address,
            "node-ip-address": address,
            "num-cpus": self._cpus,
            "object-store-memory": _OBJECTS_BYTES,
            "temp-dir": str(temporary),
            "dashboard-agent-listen-port": free_port(),
            "min-worker-port": 0,
            "max-worker-port": 0,
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *flags]

    def _masked(self, home: Path) -> list[str]:
        """Begins a command that sees ``home`` in place of the head's home, and none of the head's Ray files."""
        if not self.apart:
            return []
        mounts = [["mount", "--bind", str(home), str(self._config.home)]]
        if not Path(self._note.directory).is_relative_to(self._config.home):
            mounts.append(["mount", "-t", "tmpfs", "none", self._note.directory])
        script = " && ".join([*map(shlex.join, mounts), 'exec "$@"'])
        return [*_unshare(), "sh", "-c", script, "sh"]

    def _await(self, node: Node) -> None:
        deadline = time.monotonic() + _UP_S
        while not any(each["Alive"] and each["NodeManagerAddress"] == node.address for each in ray.nodes()):
            if node.ended() is not None or time.monotonic() > deadline:
                log = self._directory / node.name / "log"
                raise RuntimeError(f"node {node.name} did not come up: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(_LOOK_S)
        node.joined_at_s = time.monotonic()


def head_address() -> str:
    """The address of this machine that a head must be bound to so that nodes can join.

    Raises:
        RuntimeError: The machine has no other address than loopback; Ray lets nobody join there.
    """
    address: str = ray.util.get_node_ip_address()
    if address.startswith("127."):
        raise RuntimeError("this machine has no network address, which Ray's nodes need to find their head")
    return address


def _is_raylet(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "raylet"
    return False


def _unshare() -> Sequence[str]:
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def _may_mount(directory: Path) -> bool:
    """Whether this kernel lets this user have mounts of his own."""
    if shutil.which("unshare") is None:
        return False
    tried = [*_unshare(), "mount", "--bind", str(directory), str(directory)]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0
