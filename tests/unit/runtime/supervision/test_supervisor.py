"""What the supervisor does about what died, and what it says where it cannot start."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError
from raymlops.runtime.supervision import head, supervisor
from raymlops.runtime.supervision.home_note import (
    ClusterNote,
    Progress,
    note_config,
    note_progress,
    noted_cluster,
    noted_progress,
    stopping,
    supervisor_of,
)

RESPAWNED = {"dashboard", "log monitor", "autoscaler", "client server"}


@given(st.frozensets(st.sampled_from(sorted(head.ROLES))))
def test_only_helpers_that_hold_no_state_are_started_again_in_place(gone: frozenset[str]) -> None:
    seen = supervisor.verdict(gone)
    assert (seen == "nothing") == (not gone)
    assert (seen == "restart") == bool(gone - RESPAWNED)


@pytest.mark.parametrize("seen", [{}, {head.MARKER: "another"}])
def test_a_helper_that_is_seen_while_it_dies_is_not_started_again_without_its_environment(
    seen: dict[str, str], tmp_path: Path
) -> None:
    """The environment of a process that was killed reads as empty for a moment."""
    note = ClusterNote("abc", "127.0.0.1:1", None, 1, "2", "3")
    keeper = supervisor.Supervisor(tmp_path, PlatformConfig(home=tmp_path))

    def remember(environment: dict[str, str]) -> None:
        helper = subprocess.Popen(["sleep", "60"], env=environment)
        try:
            process = psutil.Process(helper.pid)
            deadline = time.monotonic() + 20
            while process.environ() != environment:  # the kernel shows it only some time after the start
                assert time.monotonic() < deadline
            keeper._remember({"log monitor": process}, note)
        finally:
            helper.kill()
            helper.wait(timeout=20)

    remember(seen)
    assert keeper._helpers == {}
    whole = {head.MARKER: "abc", "RAY_AUTH_MODE": "token"}
    remember(whole)
    remember(seen)
    assert keeper._helpers["log monitor"].environment == whole


def test_the_error_of_a_start_keeps_its_class() -> None:
    told = supervisor._told(b'noise\n{"error": "ConfigError", "message": "port 1 is taken"}\n')
    assert isinstance(told, ConfigError)
    assert str(told) == "port 1 is taken"
    assert supervisor._told(b"") is None
    assert supervisor._told(b"no json") is None


def test_a_supervisor_without_a_configuration_says_so_and_ends(tmp_path: Path) -> None:
    note_progress(tmp_path, Progress("starting"))
    supervisor.ensure_supervisor(tmp_path)
    deadline = time.monotonic() + 60
    while (progress := noted_progress(tmp_path)) is None or progress.phase == "starting":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert progress.phase == "failed"
    assert "platform.json is not readable" in progress.doing
    while supervisor_of(tmp_path) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("noted", [None, Progress("stopping")])
def test_nobody_supervises_what_is_being_stopped(tmp_path: Path, noted: Progress | None) -> None:
    """An ``up`` that is interrupted stops what it began, while the supervisor that it asked for is still on its way."""
    note_config(PlatformConfig(home=tmp_path))
    if noted is not None:
        note_progress(tmp_path, noted)
    supervisor.ensure_supervisor(tmp_path)
    assert supervisor_of(tmp_path) is None
    assert noted_cluster(tmp_path) is None


def test_a_supervisor_does_not_say_away_that_the_platform_is_being_stopped(tmp_path: Path) -> None:
    """The reconciler has replicas drained once it reads that, and may read it a moment later."""
    keeper = supervisor.Supervisor(tmp_path, PlatformConfig(home=tmp_path))
    keeper._say("starting", "the control actors and Serve")
    note_progress(tmp_path, Progress("stopping"))
    keeper._say("up")
    assert stopping(tmp_path)


def test_a_supervisor_that_cannot_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raymlops.errors import UnavailableError

    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(UnavailableError, match=r"the supervisor did not start \(see .*supervisor.log\)"):
        supervisor.ensure_supervisor(tmp_path)
