"""The supervisor of a local platform: starts the head, has the platform brought up, and does so again when it breaks.

It is a process beside the cluster (``python -m raymlops.runtime.supervision.supervisor HOME``), one for each home: a
lock says so. It watches the processes that Ray itself does not bring back. The head's helpers, which hold no state, are
started again in place; where the GCS, the raylet or an agent is gone, Ray's own bookkeeping is gone with it, so that
everything is stopped and started again from what is on disk. The module imports no Ray.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from raymlops import errors
from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.runtime.supervision import head
from raymlops.runtime.supervision.home_note import (
    ClusterNote,
    Phase,
    Progress,
    note_progress,
    note_supervisor,
    noted_cluster,
    noted_progress,
    running_config,
    stopping,
    supervisor_lock,
    supervisor_of,
)

__all__ = ["Boot", "ensure_supervisor", "keep_supervisor", "main", "run_boot", "verdict"]

_log = logging.getLogger(__name__)

_POLL_S = 0.5
_LOCK_S = 2.0
"""How long a new supervisor tries for the lock: who only looks holds it for an instant."""
_TITLES_S = 15.0
"""How long the agents may take until they can be told by their titles."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""Between starts that fail one after the other; doubled with each."""
_STEADY_S = 120.0
"""A platform that was up for so long breaks for a new reason: its restarts begin without a pause again."""
_RESPAWNED = frozenset({"dashboard", "log monitor", "autoscaler", "client server"})
_DASHBOARD_MODULES = ("ray.dashboard.subprocesses", "ray-dashboard-")


def verdict(gone: frozenset[str]) -> str:
    """What to do about core processes that are gone: ``"nothing"``, ``"respawn"`` or ``"restart"``."""
    if not gone:
        return "nothing"
    return "respawn" if gone <= _RESPAWNED else "restart"


@dataclass(frozen=True)
class _Helper:
    """A process of the head that holds no state, as it was started."""

    command: list[str]
    environment: Mapping[str, str]
    directory: str
    log: str


class Boot:
    """The short-lived process that brings the control actors and Serve up, and its outcome.

    It is a process of its own so that a call into Ray that never returns costs a deadline and not the caller.
    """

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "raymlops.runtime.boot", str(home)]
        with (home / "boot.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self._log = home / "boot.log"

    def go(self) -> None:
        """Let it begin: the cluster is there. Until then it imports what it needs."""
        if self._process.stdin is None:
            raise ValueError("the process has no input")
        with contextlib.suppress(BrokenPipeError):  # it is gone: ``outcome`` says so
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()

    def outcome(self) -> RaymlopsError | bool | None:
        """``False`` while it is at work, ``None`` once everything is up, or why it is not."""
        if self._process.poll() is None:
            return False
        said = b"" if self._process.stdout is None else self._process.stdout.read()
        if self._process.returncode == 0:
            return None
        return _told(said) or UnavailableError(
            f"the start of the platform ended with {self._process.returncode} (see {self._log})"
        )

    def end(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _told(said: bytes) -> RaymlopsError | None:
    """The error that the boot process printed on its last line."""
    try:
        told = json.loads(said.splitlines()[-1])
        return getattr(errors, told["error"], UnavailableError)(told["message"])
    except (IndexError, ValueError, KeyError):
        return None


def run_boot(home: Path, timeout_s: float) -> None:
    """Bring the control actors and Serve up on the cluster noted in a home; what runs already is left alone.

    Raises:
        RaymlopsError: What kept it from coming up.
        UnavailableError: It was not up within ``timeout_s``.
    """
    boot = Boot(home)
    try:
        boot.go()
        _await_boot(boot, timeout_s, lambda: None)
    finally:
        boot.end()


def _await_boot(boot: Boot, timeout_s: float, meanwhile: Callable[[], None]) -> None:
    deadline = time.monotonic() + timeout_s
    while (outcome := boot.outcome()) is False:
        meanwhile()
        if time.monotonic() > deadline:
            raise UnavailableError(f"the control actors and Serve were not up within {timeout_s:g} s")
        time.sleep(0.05)
    if isinstance(outcome, RaymlopsError):
        raise outcome


class Supervisor:
    """Keeps the platform of one home up.

    Args:
        home: ``RAYMLOPS_HOME``.
        config: What the platform was started with.
    """

    def __init__(self, home: Path, config: PlatformConfig) -> None:
        self._home = home
        self._config = config
        self._restarts = 0
        self._helpers: dict[str, _Helper] = {}

    def run(self) -> None:
        """Bring the platform up and keep it so; returns where the first start fails."""
        note, pause_s = self._adopt(), _FIRST_PAUSE_S
        ever_up = note is not None
        while True:
            try:
                note = self._bring_up(note)
            except RaymlopsError as error:
                self._stop_rest()
                if not ever_up:
                    self._say("failed", str(error), type(error).__name__)
                    return
                _log.warning("the platform did not come up, once more in %g s: %s", pause_s, error)
                self._say("restarting", f"{error}; once more in {pause_s:g} s", type(error).__name__)
                time.sleep(pause_s)
                note, pause_s = None, min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            ever_up, up_since = True, time.monotonic()
            self._say("up")
            why = self._watch(note)
            _log.warning("%s: the platform is started again", why)
            self._restarts += 1
            self._say("restarting", why)
            if time.monotonic() - up_since > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            note = None

    def _adopt(self) -> ClusterNote | None:
        """The noted cluster, where all its core processes run."""
        note = noted_cluster(self._home)
        if note is None or note.foreign:
            return None
        if missing := set(head.ROLES) - set(head.core_processes(note)):
            _log.info("the noted cluster lacks %s", ", ".join(sorted(missing)))
            return None
        progress = noted_progress(self._home)
        self._restarts = 0 if progress is None else progress.restarts
        return note

    def _bring_up(self, note: ClusterNote | None) -> ClusterNote:
        """Start what does not run: the head where ``note`` is ``None``, then the control plane and Serve."""
        phase: Phase = "starting" if self._restarts == 0 else "restarting"
        boot = None
        try:
            if note is None:
                self._stop_rest()
                self._say(phase, "the Ray head")
                boot = Boot(self._home)
                note = head.start_head(self._config)
            else:
                boot = Boot(self._home)
            boot.go()
            core = head.core_processes(note)
            self._remember(core, note)
            self._say(phase, "the control actors and Serve")

            def watch() -> None:
                gone = [role for role, process in core.items() if not head.alive(process)]
                if verdict(frozenset(gone)) == "restart":
                    raise UnavailableError(f"{' and '.join(gone)} died while the platform was starting")

            _await_boot(boot, self._config.cluster.boot_timeout.total_seconds(), watch)
        finally:
            if boot is not None:
                boot.end()
        return note

    def _stop_rest(self) -> None:
        note = noted_cluster(self._home)
        if note is not None and not note.foreign:
            head.stop_processes(note)

    def _watch(self, note: ClusterNote) -> str:
        """Watch the core processes; returns why everything has to be started again."""
        core = self._all_core(note)
        self._remember(core, note)
        lacking = frozenset(head.ROLES) - set(core)  # a helper may have died while the platform was brought up
        if verdict(lacking) == "restart" or lacking - set(self._helpers):
            return f"{' and '.join(sorted(lacking))} is gone"
        core |= {role: self._respawn(role, note) for role in lacking}
        while True:
            psutil.wait_procs(list(core.values()), timeout=_POLL_S)
            gone = frozenset(role for role, process in core.items() if not head.alive(process))
            match verdict(gone):
                case "restart":
                    return f"{' and '.join(sorted(gone))} died"
                case "respawn":
                    for role in gone:
                        core[role] = self._respawn(role, note)

    def _all_core(self, note: ClusterNote) -> dict[str, psutil.Process]:
        """The core processes; agents get their titles a moment after the head says that it is up."""
        deadline = time.monotonic() + _TITLES_S
        while (lacking := set(head.ROLES) - set(core := head.core_processes(note))) and time.monotonic() < deadline:
            if lacking <= set(self._helpers):
                break  # not late but dead
            time.sleep(_POLL_S)
        return core

    def _remember(self, core: Mapping[str, psutil.Process], note: ClusterNote) -> None:
        """Keep how the head's helpers were started."""
        for role in _RESPAWNED & set(core):
            process = core[role]
            try:
                log = os.readlink(f"/proc/{process.pid}/fd/2")
            except OSError:
                log = os.devnull
            with contextlib.suppress(psutil.Error):
                helper = _Helper(process.cmdline(), process.environ(), process.cwd(), log)
                # what dies just now has an empty environment; started with that, it would never be found again
                if helper.environment.get(head.MARKER) == note.cluster_id:
                    self._helpers[role] = helper

    def _respawn(self, role: str, note: ClusterNote) -> psutil.Process:
        helper = self._helpers[role]
        if role == "dashboard":  # its modules outlive it, and would answer beside the new ones
            for process in head.processes_of(note):
                with contextlib.suppress(psutil.Error):
                    if any(sign in word for word in process.cmdline() for sign in _DASHBOARD_MODULES):
                        process.kill()
        _log.warning("%s died and is started again", role)
        log = helper.log if Path(helper.log).is_file() else os.devnull
        with open(log, "ab") as out:
            # in the session of the head, as the first one: `down` and the next start find it by that or by the marker
            started = subprocess.Popen(  # noqa: S603 - as Ray itself started it
                helper.command,
                env=dict(helper.environment),
                cwd=helper.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        return psutil.Process(started.pid)

    def _say(self, phase: Phase, doing: str = "", error_kind: str = "") -> None:
        if stopping(self._home):
            return  # replicas are drained because of what is noted; then this process is ended
        note_progress(self._home, Progress(phase, doing, error_kind, self._restarts))


def ensure_supervisor(home: Path) -> None:
    """Start the supervisor of a home where none runs, detached from this process.

    Raises:
        UnavailableError: It did not start.
    """
    if supervisor_of(home) is not None:
        return
    environment = dict(os.environ)
    if environment.pop(head.MARKER, None) is not None:  # this is a process of the cluster, full of what Ray tells it
        environment = {name: value for name, value in environment.items() if not name.startswith("RAY_")}
    with (home / "supervisor.log").open("ab") as log:
        done = subprocess.run(  # noqa: S603 - our own interpreter and arguments
            [sys.executable, "-m", "raymlops.runtime.supervision.supervisor", str(home)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=60.0,
            check=False,
        )
    if done.returncode != 0:
        raise UnavailableError(f"the supervisor did not start (see {home / 'supervisor.log'})")


def keep_supervisor(home: Path) -> None:
    """Start the supervisor of a local platform again where it is gone, unless the platform is being stopped."""
    note, progress = noted_cluster(home), noted_progress(home)
    if note is not None and not note.foreign and progress is not None and progress.phase != "stopping":
        ensure_supervisor(home)


def main(home: Path) -> int:
    """Become the supervisor of a home, in the background; 0 also where another process is it already."""
    os.umask(0o077)  # what the platform writes is its owner's alone
    deadline = time.monotonic() + _LOCK_S
    while (lock := supervisor_lock(home)) is None:
        if time.monotonic() > deadline:
            return 0
        time.sleep(0.05)
    # Whoever stops a platform notes so, then looks for the lock: one of the two sees the other.
    if (progress := noted_progress(home)) is None or progress.phase == "stopping":
        return 0
    # The fork shares the lock, so that there is a supervisor from the moment at which this process ends.
    if os.fork():
        os._exit(0)
    os.setsid()
    note_supervisor(lock)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        Supervisor(home, running_config(home)).run()
    except Exception as error:
        _log.exception("the supervisor ends")
        note_progress(home, Progress("failed", f"the supervisor ended: {error}", type(error).__name__))
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
