"""Programs that a build runs, each in a session of its own that does not outlive the call."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, TypedDict

from raymlops.errors import ConfigError, DeploymentError
from raymlops.scratch import Scratch

__all__ = [
    "Account",
    "Finished",
    "account_of",
    "as_account",
    "foreign_environment",
    "foreign_room",
    "hand_over",
    "read_foreign",
    "run_in_session",
    "run_program",
]

_OURS = ("RAYMLOPS_", "RAY_", "PYTEST_")
"""Begin the names of variables that tell of the platform, or of a pytest that this process itself runs under."""


class Account(NamedTuple):
    """An account of the machine that code of others runs as."""

    uid: int
    gid: int


class _Popen(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def account_of(name: str) -> Account:
    """The account that ``delivery.build_user`` names.

    Raises:
        ConfigError: There is none, it is root, or this process may not become it.
    """
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"delivery.build_user must be an account of this machine, got {name!r}") from None
    if found.pw_uid == 0:
        raise ConfigError(f"delivery.build_user must be an account without rights, got {name!r}")
    if os.geteuid() != 0:
        raise ConfigError(
            f"delivery.build_user {name!r} needs a platform that runs as root, this is uid {os.geteuid()}"
        )
    return Account(found.pw_uid, found.pw_gid)


def as_account(account: Account | None) -> _Popen:
    """Arguments of ``subprocess`` by which a program runs as an account; ``None``: as our own."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def foreign_environment(home: Path, account: Account | None = None) -> dict[str, str]:
    """Variables of a program that runs foreign code: those of this process without the platform's.

    Args:
        home: ``RAYMLOPS_HOME`` of the program, so that it cannot touch the platform's.
        account: Whose program it is.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    if account is not None:
        plain |= {"HOME": str(home.parent)}
    return {**plain, "PYTHONDONTWRITEBYTECODE": "1", "RAYMLOPS_HOME": str(home)}


@contextmanager
def foreign_room(kind: str, account: Account | None = None, root: Path | None = None) -> Iterator[Path]:
    """A directory for a program that runs code of others, for its account alone; gone afterwards.

    Args:
        kind: What it is for, which is part of its name.
        account: Whose it is; ``None``: ours.
        root: Where it is made; ``None``: where scratch directories are, and the account can come.
    """
    with Scratch(kind, root if account is None else Path(tempfile.gettempdir())) as scratch:
        room = scratch / "room"
        room.mkdir(mode=0o700)
        if account is not None:
            scratch.chmod(0o711)
            os.chown(room, account.uid, account.gid)
        yield room


def hand_over(directory: Path, account: Account | None) -> None:
    """Make all below a directory an account's, before any code of that account runs."""
    if account is None:
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def read_foreign(file: Path) -> bytes | None:
    """A file that foreign code wrote; ``None`` where it wrote none.

    Raises:
        DeploymentError: It is no plain file: a link could lead to what only we may read.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeploymentError(f"{file.name} of the build must be a plain file: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DeploymentError(f"{file.name} of the build must be a plain file")
        with open(handle, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(handle)


class Finished(NamedTuple):
    """How a program ended."""

    code: int | None
    """Its exit code; ``None`` where its time was up."""
    output: str
    errors: str


def run_program(
    command: Sequence[str],
    *,
    timeout_s: float,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program to its end, or to that of its time, and keep what it said; arguments as of ``run_in_session``."""
    # files, not pipes: a stray child would hold a pipe open for ever
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        code = run_in_session(
            command, output, errors, timeout_s=timeout_s, directory=directory, environment=environment
        )
        return Finished(code, _said(output), _said(errors))


def run_in_session(
    command: Sequence[str],
    output: IO[bytes],
    errors: IO[bytes] | None = None,
    *,
    timeout_s: float,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> int | None:
    """The exit code of a program; ``None`` where its time was up. What it started is ended with it.

    Args:
        command: An interpreter or a program of a package that we depend on, and its arguments; no shell reads them.
        output: Where it writes to.
        errors: Where its standard error goes; ``None``: to ``output``.
        timeout_s: After this it is killed.
        directory: Where it runs; ``None``: here.
        environment: Its variables; ``None``: our own.
        account: Whose it is; ``None``: ours.
    """
    process = subprocess.Popen(  # noqa: S603 - see ``command``
        command,
        cwd=directory,
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if errors is None else errors,
        start_new_session=True,
        **as_account(account),
    )
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
