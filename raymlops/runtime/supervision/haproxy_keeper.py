"""Holds the sockets that callers connect to: where HAProxy dies, connections wait in the kernel and are not refused.

The guard starts one keeper beside HAProxy, detached from Ray. The keeper opens the listening sockets once, hands them
to every HAProxy that Ray starts, and watches the newest by its pidfd. Where that one dies, another goes on that the
keeper has started from the same configuration, and that has stopped itself before it listened. Ray notices some seconds
later and starts its own, which takes over. A copy of the keeper, the spare, waits for the keeper's lock with the same
sockets; the kernel gives it the lock the moment the keeper dies.

It runs as a script of a bare interpreter, so it imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Keeper", "main"]

_FIRST_NUMBER = 40
"""Sockets lie at numbers from here on, the same in every process, since HAProxy's configuration names the numbers."""
_BACKLOG = 4096
_TALK_S = 0.5
"""How long the keeper waits for a guard to say what it wants; nothing else is done meanwhile."""
_PREPARE_S = 1.0
"""How long after a HAProxy was started the next one is prepared; reloads come in groups."""
_STOPPED_S = 1.0
"""How long a HAProxy may have been stopped by a signal before it is ended."""
_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0
"""Where a HAProxy of the keeper's ended by itself, the next one waits; the wait doubles."""


class Keeper:
    """The process that holds the sockets.

    Args:
        directory: Where its own socket, lock and note lie.
        binary: HAProxy.
        config: Ray's configuration; what HAProxy is started on in need lies beside it, as ``.standby``.
    """

    def __init__(self, directory: Path, binary: str, config: str) -> None:
        self._directory, self._binary, self._config = directory, binary, config
        self._sockets: dict[str, int] = {}
        self._running: dict[int, int] = {}
        """Process id of each HAProxy -> its pidfd."""
        self._newest: int | None = None
        self._owner: tuple[int, int | None] | None = None
        """Process id and pidfd of what everything here lives as long as; no pidfd where that is gone."""
        self._spare: tuple[int, int] | None = None
        self._prepared: tuple[int, int] | None = None
        """Process id and pidfd of the HAProxy that goes on where the newest dies."""
        self._prepare_s: float | None = None
        self._stopped: tuple[int, float] | None = None
        self._due_s: float | None = None
        self._wait_s = 0.0

    def lead(self, lock: int) -> None:
        """Be the keeper until the owner is gone."""
        self._recall()
        path = self._directory / "door.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.bind(str(path))
            path.chmod(0o600)
            door.listen(16)
            while not self._is_over():
                if self._spare is None and self._sockets and self._fork(lock, door):
                    return
                self._turn(door)
        self._drop_prepared()
        for pid in self._running:
            _signal(pid, signal.SIGTERM)

    def _is_over(self) -> bool:
        return self._owner is not None and (self._owner[1] is None or _ended(self._owner[1]))

    def _recall(self) -> None:
        """Know again what the keeper before this one knew."""
        try:
            note = json.loads((self._directory / "door.json").read_text())
        except FileNotFoundError:
            return
        for pid in note["running"]:
            if self._is_haproxy(pid) and (handle := _watch(pid)) is not None:
                self._running[pid] = handle
        if (prepared := note["prepared"]) is not None and self._is_haproxy(prepared):
            _signal(prepared, signal.SIGKILL)
        self._newest = note["newest"]
        self._prepare_s = time.monotonic() + _PREPARE_S
        self._own(note["owner"])
        if self._sockets:
            self._follow_newest(0.0)

    def _follow_newest(self, wait_s: float) -> None:
        """Have the newest followed by another, where there was one and it is gone."""
        if self._newest is not None and self._newest not in self._running and self._due_s is None:
            self._due_s = time.monotonic() + wait_s

    def _note(self) -> None:
        owner = None if self._owner is None else self._owner[0]
        note = {"keeper": os.getpid(), "spare": self._spare and self._spare[0], "owner": owner}
        note["prepared"] = self._prepared and self._prepared[0]
        text = json.dumps({**note, "newest": self._newest, "running": list(self._running)})
        draft = self._directory / "door.json.draft"
        try:
            draft.write_text(text)
            draft.replace(self._directory / "door.json")
        except OSError as error:  # a full disk closes no door: it is read only by the next keeper
            _say(f"the keeper's note was not written: {error}")

    def _is_haproxy(self, pid: int) -> bool:
        try:
            return self._config.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    def _own(self, pid: int | None) -> None:
        if pid is not None and (self._owner is None or self._owner[0] != pid):
            self._owner = (pid, _watch(pid))

    def _fork(self, lock: int, door: socket.socket) -> bool:
        """Start the spare.

        Returns:
            Whether this process is the spare, and has been the keeper since.
        """
        try:
            pid = os.fork()
        except OSError as error:  # tried again at the next turn
            _say(f"the keeper is without a spare: {error}")
            return False
        if pid:
            handle = _watch(pid)
            self._spare = None if handle is None else (pid, handle)
            self._note()
            return False
        # the lock is the keeper's as long as any copy of its descriptor is open
        os.close(lock)
        door.close()
        for watched in [*self._running.items(), self._owner, self._prepared]:
            if watched is not None and watched[1] is not None:
                os.close(watched[1])
        ours = _lock_file(self._directory)
        fcntl.flock(ours, fcntl.LOCK_EX)
        fresh = Keeper(self._directory, self._binary, self._config)
        fresh._sockets = self._sockets
        fresh.lead(ours)
        return True

    def _turn(self, door: socket.socket) -> None:
        """Wait for one event, and handle it."""
        poller = select.poll()
        others = [
            one[1] for one in (self._spare, self._owner, self._prepared) if one is not None and one[1] is not None
        ]
        for handle in [door.fileno(), *self._running.values(), *others]:
            poller.register(handle, select.POLLIN)
        due_s = min(at_s for at_s in (self._due_s, self._prepare_s, time.monotonic() + 1.0) if at_s is not None)
        wait_s = max(0.0, due_s - time.monotonic())
        ready = {handle for handle, _ in poller.poll(wait_s * 1e3)}
        for pid in [pid for pid, handle in self._running.items() if handle in ready]:
            self._forget(pid)
        self._end_what_is_stopped()
        if self._prepared is not None and self._prepared[1] in ready:
            self._drop_prepared()
            self._prepare_s = time.monotonic() + _LONGEST_WAIT_S
        if self._spare is not None and self._spare[1] in ready:
            self._drop_spare()
        if self._due_s is not None and self._due_s <= time.monotonic():
            self._stand_in()
        if self._prepare_s is not None and self._prepare_s <= time.monotonic():
            self._prepare()
        if door.fileno() in ready:
            connection, _ = door.accept()
            with connection:
                connection.settimeout(_TALK_S)
                with contextlib.suppress(OSError):  # a guard that was killed has nothing to be told
                    self._answer(connection)

    def _end_what_is_stopped(self) -> None:
        """End a newest that has been stopped for a second: callers wait for it in vain, and are better told so."""
        now_s = time.monotonic()
        if self._newest not in self._running or not _is_stopped(self._newest):
            self._stopped = None
        elif self._stopped is None or self._stopped[0] != self._newest:
            self._stopped = (self._newest, now_s)
        elif now_s - self._stopped[1] >= _STOPPED_S:
            _signal(self._newest, signal.SIGKILL)

    def _forget(self, pid: int) -> None:
        os.close(self._running.pop(pid))
        has_failed = _has_failed(pid)
        if pid == self._newest:
            self._wait_s = min(_LONGEST_WAIT_S, max(_WAIT_S, 2 * self._wait_s)) if has_failed else 0.0
            self._follow_newest(self._wait_s)
        self._note()

    def _drop_spare(self) -> None:
        if self._spare is not None:
            _end(*self._spare)
            self._spare = None

    def _drop_prepared(self) -> None:
        if self._prepared is not None:
            _end(*self._prepared)
            self._prepared = None

    def _prepare(self) -> None:
        """Start the HAProxy that stops itself before it listens."""
        self._prepare_s = None
        self._drop_prepared()
        if self._newest in self._running and (pid := self._spawn({**os.environ, "RAYMLOPS_STANDBY": "1"})) is not None:
            handle = _watch(pid)
            self._prepared = None if handle is None else (pid, handle)
            self._note()

    def _spawn(self, environment: Mapping[str, str]) -> int | None:
        try:
            return os.posix_spawn(self._binary, [self._config, "-db", "-f", f"{self._config}.standby"], environment)
        except OSError as error:
            _say(f"HAProxy cannot be started: {error}")
            return None

    def _stand_in(self) -> None:
        """Have another HAProxy go on in place of the newest, which died."""
        self._due_s = None
        pid: int | None
        if self._prepared is not None and _is_stopped(self._prepared[0]):
            pid, handle = self._prepared
            self._prepared = None
            _signal(pid, signal.SIGCONT)
            os.close(handle)
        else:
            pid = self._spawn(os.environ)
        if pid is None:
            self._due_s = time.monotonic() + _LONGEST_WAIT_S
            return
        for other in self._running:
            _signal(other, signal.SIGUSR1)
        self._run(pid)

    def _run(self, pid: int) -> None:
        handle = _watch(pid)
        self._newest = pid
        if handle is None:
            self._due_s = time.monotonic() + _LONGEST_WAIT_S
        else:
            self._running[pid] = handle
            self._due_s = None
        self._drop_prepared()
        self._prepare_s = time.monotonic() + _PREPARE_S
        self._note()

    def _answer(self, connection: socket.socket) -> None:
        """Do what one guard asks for: sockets by address, or to know of the HAProxy that the guard becomes."""
        asked = json.loads(connection.makefile("r").readline())
        if "bind" in asked:
            try:
                for address in asked["bind"]:
                    self._open(address)
            except (OSError, ValueError) as error:
                connection.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
                return
            self._follow_newest(_LONGEST_WAIT_S)  # unless the guard, which may be killed, becomes it before
            numbers = [self._sockets[address] for address in asked["bind"]]
            socket.send_fds(connection, [json.dumps({"numbers": numbers}).encode() + b"\n"], numbers)
            return
        if missing := set(asked["addresses"]) - self._sockets.keys():
            connection.sendall(json.dumps({"error": f"no socket is open at {sorted(missing)}"}).encode() + b"\n")
            return
        running = list(self._running)
        self._own(asked["owner"])
        for address in self._sockets.keys() - set(asked["addresses"]):
            os.close(self._sockets.pop(address))
            self._drop_spare()
        self._run(asked["run"])
        connection.sendall(json.dumps({"running": running}).encode() + b"\n")

    def _open(self, address: str) -> None:
        if address in self._sockets:
            return
        try:
            bound = _bound(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._running:
                raise OSError(f"cannot listen on {address}: {error.strerror}") from error
            # keeper and spare died at once, and left a HAProxy whose sockets cannot be taken over
            for pid, handle in list(self._running.items()):
                os.kill(pid, signal.SIGKILL)
                select.select([handle], [], [], 5.0)
                self._forget(pid)
            bound = _bound(address)
        with bound:
            self._sockets[address] = fcntl.fcntl(bound.fileno(), fcntl.F_DUPFD, _FIRST_NUMBER)
        self._drop_spare()


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(("" if host == "*" else host, int(port)))
        opened.listen(_BACKLOG)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _end(pid: int, handle: int) -> None:
    """End a child, and forget it."""
    _signal(pid, signal.SIGKILL)
    os.close(handle)
    os.waitpid(pid, 0)


def _is_stopped(pid: int) -> bool:
    """Whether a process was told to stop by a signal, and not yet to go on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def _watch(pid: int) -> int | None:
    """A descriptor that is ready to be read once the process has ended; None where it has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _ended(handle: int) -> bool:
    return bool(select.select([handle], [], [], 0)[0])


def _has_failed(pid: int) -> bool:
    """Whether a process that has ended was a child, and was not killed from outside."""
    try:
        _, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # Ray's, or that of the keeper before this one
        return False
    return not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)


def _lock_file(directory: Path) -> int:
    return os.open(directory / "door.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def main(directory: str, binary: str, name: str) -> None:
    """Be the keeper of ``directory``, where Ray writes its configuration as ``name``, unless there is one."""
    lock = _lock_file(Path(directory))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    Keeper(Path(directory), binary, str(Path(directory) / name)).lead(lock)


if __name__ == "__main__":
    main(*sys.argv[1:])
