"""Where a lock comes from: the project, an index, or what is installed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import numpy
import pytest

from raymlops.delivery.lock import Pinned, read_lock
from raymlops.delivery.packages.locking import index_hashes, lock_project
from raymlops.errors import ConfigError
from tests.unit.delivery.packages.test_declared import files
from tests.unit.delivery.packages.tiny_wheels import make_wheel, sha256_of_file


@pytest.fixture(autouse=True)
def _no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that is a directory of this test, and a cache that knows nothing."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")


def _whole_lock(**changes: str) -> str:
    """A lock of what is installed, with hashes that nobody checks, and no line of the platform."""
    pins = {name: each.version for name, each in read_lock(lock_project({}, ask_index=False).content).items()}
    del pins["raymlops"]
    pins |= {name: version for name, version in changes.items() if version}
    names = sorted(pins.keys() - {name for name, version in changes.items() if not version})
    return "".join(f"{name}=={pins[name]} --hash=sha256:{'a' * 64}\n" for name in names)


@contextmanager
def _served(directory: Path) -> Iterator[str]:
    """A package index over HTTP: what a directory holds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory)))
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_hashes_are_those_of_the_index_and_no_address_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path / "files")
    page = tmp_path / "simple" / "tinything" / "index.html"
    page.parent.mkdir(parents=True)
    link = f"../../files/{wheel.name}#sha256={sha256_of_file(wheel)}"
    page.write_text(f'<!DOCTYPE html><html><body><a href="{link}">{wheel.name}</a></body></html>')
    for name in ("UV_FIND_LINKS", "UV_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.delenv(name)
    with _served(tmp_path) as address:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{address}/simple")
        lock, reason = index_hashes({"tinything": "1.0"})
    assert (lock, reason) == ({"tinything": Pinned("1.0", frozenset({sha256_of_file(wheel)}))}, "")


def test_without_an_index_the_lock_says_so(tmp_path: Path) -> None:
    lock, reason = index_hashes({"tinything": "1.0"})
    assert lock == {}
    assert "No solution found" in reason
    made = lock_project({})
    assert made.origin == "installed"
    assert made.note
    lines = made.content.decode().splitlines()
    assert lines[:2] == [f"# raymlops=={version('raymlops')}", "# without the hashes of an index: what is installed"]
    assert made.packages["numpy"] == numpy.__version__
    assert made.packages["raymlops"] == version("raymlops")
    assert "://" not in made.content.decode()
    assert made.content == lock_project({}, ask_index=False).content


def test_a_complete_lock_of_a_former_build_is_taken_again() -> None:
    plain = lock_project({}, ask_index=False)
    complete = (f"# raymlops=={version('raymlops')}\n" + _whole_lock()).encode()
    assert lock_project({}, [b"other==1\n", complete]) == (complete, "index", "")
    assert lock_project({}, [plain.content], ask_index=False) == plain
    older = complete.replace(f"numpy=={numpy.__version__}".encode(), b"numpy==1.0")
    assert lock_project({}, [older], ask_index=False) == plain


def test_a_lock_that_the_project_brings_is_checked_and_kept() -> None:
    own = _whole_lock()
    made = lock_project(files(requirements_DOT_lock=own))
    assert (made.origin, made.note) == ("project", "")
    assert made.packages == lock_project({}, ask_index=False).packages
    with_platform = f"# raymlops=={version('raymlops')}\n{own}"
    assert lock_project(files(requirements_DOT_lock=with_platform)).content.decode() == with_platform


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"numpy": "1.0"}, rf"other packages are installed than it locks: numpy 1\.0, here {numpy.__version__}"),
        ({"ghost": "1.0"}, r"other packages are installed than it locks: ghost 1\.0, here none"),
        ({"numpy": ""}, "must lock all that the project and RayMLOps need, lacks numpy"),
    ],
)
def test_a_lock_of_the_project_that_is_not_what_is_installed_is_refused(changes: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^requirements\.lock: {told}"):
        lock_project(files(requirements_DOT_lock=_whole_lock(**changes)))


def test_a_lock_that_uv_does_not_read_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymlops.delivery.packages.locking._TIMEOUT_S", 0.0001)
    with pytest.raises(ConfigError, match=r"^uv\.lock: was not read by uv within 0\.0001 s"):
        lock_project(files(uv_DOT_lock="version = 1\n", pyproject_DOT_toml='[project]\nname = "p"\nversion = "1"\n'))


def test_a_lock_of_uv_is_read_by_uv() -> None:
    pyproject = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = []\n'
    package = '[[package]]\nname = "p"\nversion = "1"\nsource = { virtual = "." }\n'
    lock = f'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n\n{package}'
    with pytest.raises(
        ConfigError, match=r"^uv\.lock: must lock all that the project and RayMLOps need, lacks aiohappy"
    ):
        lock_project(files(uv_DOT_lock=lock, pyproject_DOT_toml=pyproject))
    with pytest.raises(ConfigError, match=r"^uv\.lock: cannot be read by uv: "):
        lock_project(files(uv_DOT_lock="nonsense", pyproject_DOT_toml=pyproject))
    with pytest.raises(ConfigError, match=r"^uv\.lock: the project must have the pyproject\.toml"):
        lock_project(files(uv_DOT_lock=lock))
