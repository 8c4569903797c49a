"""Directories of one process: gone with it, whatever it dies of, and nobody else's are touched."""

from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from raymlops import scratch
from raymlops.scratch import Scratch, directory_lock, scratch_root, sweep, write_whole

_HOLDS = """
import sys
from pathlib import Path
from raymlops.scratch import Scratch
held = Scratch("test", Path(sys.argv[1]))
(held.path / "file").write_text("x")
print(held.path, flush=True)
sys.stdin.read()
"""


def test_it_is_private_and_gone_when_it_is_closed_or_collected(tmp_path: Path) -> None:
    with Scratch("test", tmp_path) as path:
        (path / "file").write_text("x")
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert path.name.startswith("raymlops.test-")
    assert list(tmp_path.iterdir()) == []
    scratch = Scratch("test", tmp_path)
    scratch.close()
    scratch.close()
    Scratch("test", tmp_path)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_holds_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDS, str(tmp_path)]
    with (
        subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as dead,
        subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as living,
    ):
        killed, held = (Path(process.stdout.readline().strip()) for process in (dead, living) if process.stdout)
        dead.send_signal(signal.SIGKILL)
        dead.wait(60)
        assert (killed / "file").exists()
        with Scratch("test", tmp_path) as path:
            assert sorted(tmp_path.iterdir()) == sorted([held, path])
        living.communicate("", timeout=60)
    assert living.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_links_files_and_other_names_are_left_alone(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    others = ("raymlops-old", "raymlops.git", "raymlops.notes-20261127", "raymlops.my-own-directory")
    for made in (place, elsewhere, *(place / name for name in others)):
        made.mkdir()
    (place / "raymlops.left-abcd_123").mkdir(0o700)
    (place / "raymlops.link-abcd_123").symlink_to(elsewhere)
    (place / "raymlops.file-abcd_123").touch()
    assert sweep(place) == [place / "raymlops.left-abcd_123"]
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [*others, "raymlops.file-abcd_123", "raymlops.link-abcd_123"]
    )
    assert elsewhere.is_dir()
    assert sweep(tmp_path / "not there") == []


def test_it_lies_in_the_platforms_home_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMLOPS_HOME", str(tmp_path))
    assert scratch_root() == tmp_path / "scratch"
    assert stat.S_IMODE((tmp_path / "scratch").stat().st_mode) == 0o700
    monkeypatch.setenv("RAYMLOPS_HOME", str(tmp_path / "not there"))
    assert scratch_root() == Path(tempfile.gettempdir())
    monkeypatch.delenv("RAYMLOPS_HOME")
    assert scratch_root() == Path(tempfile.gettempdir())
    with Scratch("test") as path:
        assert path.parent == Path(tempfile.gettempdir())
        assert path.stat().st_uid == os.geteuid()


def test_who_holds_a_lock_alone_waits_for_all_and_all_wait_for_him(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_LOCK_WAIT_S", 0.05)
    with (
        directory_lock(tmp_path, alone=False),
        directory_lock(tmp_path, alone=False),
        pytest.raises(TimeoutError, match="was held for"),
        directory_lock(tmp_path, alone=True),
    ):
        pass
    with directory_lock(tmp_path, alone=True):
        for alone in (True, False):
            with pytest.raises(TimeoutError, match="was held for"), directory_lock(tmp_path, alone=alone):
                pass
    with directory_lock(tmp_path, alone=True):
        pass
    with pytest.raises(FileNotFoundError), directory_lock(tmp_path / "none", alone=True):
        pass


def test_a_file_appears_whole_and_private_or_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    for content in (b"one", b"", b"three"):
        write_whole(path, content, durable=content == b"three")
        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def fail(*_: object) -> None:
        raise OSError("disk full")

    for call in ("replace", "fsync"):
        with monkeypatch.context() as broken:
            broken.setattr(os, call, fail)
            with pytest.raises(OSError, match="disk full"):
                write_whole(path, b"four", durable=True)
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"three"]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "file", b"")
