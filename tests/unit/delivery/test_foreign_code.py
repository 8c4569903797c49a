"""Code of a project, which a build runs, does not get at the key that bundles are signed with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.delivery import BundleParts, build_bundle, create_key, read_key
from raymlops.delivery.programs import account_of, read_foreign
from raymlops.errors import ConfigError, DeploymentError
from raymlops.testing.metadata_examples import EPOCH

from .conftest import replace_pytest, write_project

NOBODY, SYSTEM_PYTHON = "nobody", Path("/usr/bin/python3")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")

PARENT = """
import sys, tempfile
from pathlib import Path
from raymlops.delivery.programs import account_of, foreign_environment, foreign_room, hand_over, run_in_session
account = account_of(sys.argv[1]) if sys.argv[1] else None
with foreign_room("build", account, Path(tempfile.gettempdir())) as room:
    (room / "steal.sh").write_text(sys.argv[2])
    hand_over(room, account)
    environment = foreign_environment(room / "home", account)
    run = dict(timeout_s=60, directory=room, environment=environment, account=account)
    run_in_session(["/bin/sh", "steal.sh"], sys.stdout, **run)
"""
THIEF = """
env
tr '\\0' '\\n' < /proc/$$/cmdline
find . -type f -exec cat {} +
tr '\\0' '\\n' < /proc/$PPID/environ 2>/dev/null
path=$(tr '\\0' '\\n' < /proc/$PPID/cmdline | grep 'key.pem$')
echo "I know of $path" > found
cat "$path" 2>/dev/null
ls $(dirname "$path") 2>/dev/null
id -u
"""
"""Looks into its variables, its arguments, its directory, those of its parent, and where the parent has the key."""


def _stolen(key: Path, account: str, thief: str) -> str:
    environment = {**os.environ, "RAYMLOPS_DELIVERY__SIGNING_KEY": str(key), "RAY_AUTH_TOKEN": "t0ken"}
    done = subprocess.run(
        [sys.executable, "-c", PARENT, account, thief, str(key)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.fixture
def key(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)  # the key is its own protection
    create_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@as_root
def test_another_account_gets_the_key_neither_by_name_nor_by_path(key: Path) -> None:
    said = _stolen(key, NOBODY, THIEF + "\ncat found")
    assert f"I know of {key}" in said, "the arguments of a parent can be seen"
    assert said.splitlines()[-2] == str(account_of(NOBODY).uid)
    assert "PRIVATE KEY" not in said
    assert "t0ken" not in said
    assert "RAYMLOPS_DELIVERY" not in said


def test_nothing_that_is_handed_to_the_code_of_a_project_leads_to_the_key(key: Path) -> None:
    said = _stolen(key, "", "\n".join(THIEF.splitlines()[:4]))  # its own: what a parent has, the same account can see
    assert "RAYMLOPS_HOME=" in said
    assert str(key) not in said
    assert "t0ken" not in said


@as_root
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="needs an interpreter that every account can run")
def test_a_bundle_is_built_by_another_account_and_signed_by_ours(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_project(tmp_path / "project")
    refused = "except PermissionError:\n    print(f'as {os.getuid()}: 1 passed')\n"
    replace_pytest(project, f"import os\ntry:\n    print(open({str(key)!r}).read())\n{refused}")
    monkeypatch.setattr(sys, "executable", str(SYSTEM_PYTHON))
    parts = BundleParts(account=account_of(NOBODY))
    manifest = build_bundle(project, tmp_path / "b", ManualClock(EPOCH), parts=parts, signer=lambda: read_key(key))
    place = tmp_path / "b" / manifest.digest
    assert (place / "tests.txt").read_text() == f"as {account_of(NOBODY).uid}: 1 passed\n"
    assert list(place.glob("provenance-*.json"))


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, kind: str) -> None:
    made, secret = tmp_path / "tests.xml", tmp_path / "secret"
    secret.write_text("PRIVATE")
    makes = {"link": lambda: made.symlink_to(secret), "pipe": lambda: os.mkfifo(made), "directory": made.mkdir}
    makes[kind]()
    with pytest.raises(DeploymentError, match=r"tests\.xml of the build must be a plain file"):
        read_foreign(made)
    assert read_foreign(tmp_path / "none") is None
    assert read_foreign(secret) == b"PRIVATE"


@pytest.mark.parametrize("name", ["no-such-account", "root"])
def test_a_build_user_is_an_account_without_rights(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"delivery\.build_user must be an account.*got '{name}'"):
        account_of(name)


def test_who_is_not_root_becomes_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="'nobody' needs a platform that runs as root, this is uid 1000"):
        account_of(NOBODY)
