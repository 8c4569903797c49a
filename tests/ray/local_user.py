"""Another user of the machine tries what is there of a platform: run as root with a file that says what to try.

It imports what it needs, becomes user and group 65534, tries, and prints what it got as JSON: an empty list is good.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a library that could not be read any more later
import http.client
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NOBODY = 65534
_SECONDS = 3.0


def become_nobody() -> None:
    """Give up every right of root, for good."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.umask(0)
    if os.geteuid() != NOBODY or os.access("/etc/shadow", os.R_OK):
        raise SystemExit("this process still has the rights of root")


def tried_paths(roots: list[str]) -> Iterator[str]:
    """What can be listed, read, written or removed below directories."""
    for root in roots:
        top = Path(root)
        for place in (top, top.parent):
            with suppress(OSError):
                mode = place.lstat().st_mode
                if place == top and stat.S_ISDIR(mode) and os.listdir(place):
                    yield f"listed {place}"
        for deep in (top / "cluster.json", top / "auth_token", top / "metadata.db", top / "ledger-anchors.jsonl"):
            with suppress(OSError):
                deep.read_bytes()
                yield f"read {deep}"
            with suppress(OSError):
                deep.open("ab").close()
                yield f"opened {deep} for writing"
        with suppress(OSError):
            (top / "left-here").touch()
            yield f"wrote into {top}"
        with suppress(OSError):
            top.rename(top.with_name(f"{top.name}.moved"))
            yield f"renamed {top}"


def tried_known_files(paths: list[str]) -> Iterator[str]:
    """What can be done with files whose names are known: sockets, working directories of runs, logs."""
    for path in paths:
        with suppress(OSError), open(path, "rb") as file:
            file.read(1)
            yield f"read {path}"
        with suppress(OSError), open(path, "ab"):
            yield f"opened {path} for writing"
        with suppress(OSError):
            os.unlink(path)
            yield f"removed {path}"


def tried_sockets(roots: list[str]) -> Iterator[str]:
    """Unix sockets below directories that let this user in, by the kernel's list."""
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        path = line.split(maxsplit=7)[7:]
        if not path or not path[0].startswith(tuple(roots)):
            continue
        with suppress(OSError), socket.socket(socket.AF_UNIX) as one:
            one.settimeout(_SECONDS)
            one.connect(path[0])
            yield f"connected to {path[0]}"


def tried_http(base: str, requests: list[list[str]]) -> Iterator[str]:
    """Requests without a token or key that are answered by anything but a refusal."""
    host, _, port = base.partition(":")
    for method, path, body in requests:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(host, int(port), timeout=_SECONDS)
            connection.request(method, path, body or None, {"Content-Type": "application/json"})
            status = connection.getresponse().status
            connection.close()
            if status not in (401, 403, 404, 405):
                yield f"{method} {base}{path} was answered {status}"


def tried_processes(pids: list[int]) -> Iterator[str]:
    """What can be read of processes, or done to them."""
    for pid in pids:
        for name in ("environ", "mem", "maps", "cwd", "fd"):
            with suppress(OSError):
                if _seen(Path(f"/proc/{pid}/{name}")):
                    yield f"read /proc/{pid}/{name}"
        with suppress(OSError):
            os.kill(pid, 18)  # SIGCONT does no harm where it is allowed
            yield f"sent a signal to {pid}"


def _seen(path: Path) -> bool:
    """Whether anything is to be had of a file of a process."""
    if path.name == "fd":
        return bool(os.listdir(path))
    if path.name == "cwd":
        return bool(os.readlink(path))
    with path.open("rb") as file:
        return bool(file.read(1))


def main(plan: dict[str, list[object]]) -> list[str]:
    """Try everything; returns what was got."""
    become_nobody()
    got = [
        *tried_paths([str(root) for root in plan["directories"]]),
        *tried_known_files([str(path) for path in plan["files"]]),
        *tried_sockets([str(root) for root in plan["directories"]]),
        *tried_processes([int(str(pid)) for pid in plan["processes"]]),
    ]
    for base, requests in plan["http"]:  # type: ignore[misc]
        got.extend(tried_http(base, requests))
    return got


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        wanted = json.load(file)
    sys.stdout.write(json.dumps(main(wanted)))
