"""What the home says of its platform: private, whole or absent, and right after a move."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError
from raymlops.runtime.supervision.home_note import (
    ClusterNote,
    Progress,
    forget_cluster,
    note_cluster,
    note_config,
    note_progress,
    noted_cluster,
    noted_progress,
    prepare_home,
    running_config,
    supervisor_lock,
    supervisor_of,
)

NOTE = ClusterNote("ab12", "127.0.0.1:6000", "http://127.0.0.1:8265", 8000, "2.60.0", "3.11.7", 42, 1.5, "/x")


def test_notes_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert noted_cluster(tmp_path) is None
    assert noted_progress(tmp_path) is None
    note_cluster(tmp_path, NOTE)
    note_progress(tmp_path, Progress("restarting", "gcs died", restarts=3))
    assert noted_cluster(tmp_path) == NOTE
    seen = noted_progress(tmp_path)
    assert seen is not None
    assert (seen.phase, seen.doing, seen.restarts) == ("restarting", "gcs died", 3)
    assert seen.at_s > 0
    forget_cluster(tmp_path)
    forget_cluster(tmp_path)
    assert noted_cluster(tmp_path) is None
    assert noted_progress(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}'])
def test_a_note_that_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(ConfigError, match="is not readable"):
        noted_cluster(tmp_path)


def test_every_file_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    before = os.umask(0)
    try:
        prepare_home(home)
        note_cluster(home, NOTE)
        note_progress(home, Progress("up"))
        note_config(PlatformConfig(home=home))
        handle = supervisor_lock(home)
    finally:
        os.umask(before)
    assert handle is not None
    os.close(handle)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}


def test_an_open_home_is_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    prepare_home(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a home of somebody else")
def test_a_home_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(ConfigError, match="must belong to user 0, it belongs to user 12345"):
        prepare_home(tmp_path)


def test_a_home_that_was_moved_is_where_it_is_found(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    note_config(PlatformConfig.model_validate({"home": old, "serving": {"port": 8123}}))
    new = old.rename(tmp_path / "new")
    config = running_config(new)
    assert (config.home, config.serving.port) == (new, 8123)
    assert str(old) not in (new / "platform.json").read_text()


def test_there_is_one_supervisor_and_its_death_frees_its_place(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from raymlops.runtime.supervision.home_note import supervisor_lock\n"
        "print(supervisor_lock(Path(sys.argv[1])) is not None, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert supervisor_of(tmp_path) is None
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "True\n"
        assert supervisor_of(tmp_path) == first.pid
        assert supervisor_lock(tmp_path) is None
        first.kill()
        first.wait(timeout=30)
    assert supervisor_of(tmp_path) is None
    handle = supervisor_lock(tmp_path)
    assert handle is not None
    os.close(handle)
