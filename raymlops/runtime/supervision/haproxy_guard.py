"""Stands in for the HAProxy binary: closes what Ray leaves open, bounds what a caller may hold, and answers in JSON.

Ray 2.60 renders HAProxy's configuration with its metrics and its statistics on all interfaces, without a deadline for a
request that never comes, and answers 404 for every model while it has not heard of any; it offers no settings.
This runs as a script between Ray and the binary: it writes a configuration of its own beside Ray's, has the keeper
(``haproxy_keeper``) open the sockets, and becomes HAProxy, with the same process id. What it does not understand
ends the start, so that no port is opened by mistake. What HAProxy answers by itself, as where no replica is left, Ray
makes a 500 in plain text; here it is what every other error of the interface is.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Limits", "bounded", "closed", "listening_at", "main", "told_in_json", "with_sockets", "write_wrapper"]

_SERVING = {"http_frontend", "grpc_frontend"}
"""What callers reach: Ray binds them to the configured host."""
_NOT_NEEDED = {"prometheus", "stats"}
"""Listeners without a reader, not even Ray's manager: they would show names of models to all users of the machine."""
_NO_MODELS = {"default_backend", "default_grpc_backend", "grpc_fallback_backend"}
"""Backends that stand for no application."""

_SECTION = re.compile(r"^(global|defaults|frontend|backend|listen|peers|resolvers)\b\s*(\S*)")
_BIND = re.compile(r"^(\s*bind\s+)(\S+)(.*)$")
_ADMIN = re.compile(r"^(\s*stats\s+socket\s+)(\S+)(\s+)(?:mode\s+\d+\s+)?(.*)$")
_ADDRESS = re.compile(r"(?:\*|\[[0-9a-fA-F:.]*\]|[0-9.]*):(\d+)")
_STATE = re.compile(r"^\s*(server-state-base|server-state-file|load-server-state-from-file)\s")
_OURS = re.compile(r"^\s*(maxconn|timeout (client|server|http-request|http-keep-alive|queue))\s")
"""What ``bounded`` says itself."""
_NOT_FOUND = re.compile(r"^\s*http-request return status 404\s")

_STOP = """core.register_init(function()
    if os.getenv("RAYMLOPS_STANDBY") then os.execute("kill -STOP $PPID") end
end)
"""
_START_S, _FOLLOWS_S = 10.0, 1.0
"""How long the guard waits for the keeper, and for one that died to be followed by its spare."""
_MOST_OPEN_HERE = 256
_MOST_CONNECTIONS = 20_000
_SPARE_FILES = 600
"""File numbers that are no connection: listeners, pipes, logs."""
_HEADER_S, _IDLE_S, _MARGIN_S = 10.0, 30.0, 2.0

_FALLBACK = re.compile(r"^\s*server\s+SERVE_PROXY_ACTOR-fallback")
"""Serve's own proxy, asked where an application has no replica: it keeps the caller waiting until there is one, and
answers 404 for what it has not heard of yet. Without it HAProxy answers 503 at once."""
_POOL = re.compile(r"^\s*acl is_\S+ path /v2/models\s*$", re.MULTILINE)
_USE_MODEL = re.compile(r"^\s*use_backend (http-model-\S+) if is_\S+$")
"""Where there is a pool, a model whose own application has no replica is asked for there: on its way out of the pool,
or into it, it is answered all the time."""
_ERROR_FILE = re.compile(r"^\s*errorfile\s")
_REPLIES = {
    400: ("400 Bad Request", "this is no HTTP request that can be answered"),
    408: ("408 Request Timeout", "the request did not arrive in time"),
    500: ("500 Internal Server Error", "internal error"),
    502: ("503 Service Unavailable", "the replica that was asked is gone: try again"),
    503: ("503 Service Unavailable", "no replica is up: try again"),
    504: ("504 Gateway Timeout", "no replica answered in time"),
}
"""What HAProxy would say -> what is said. A prediction may be asked for again, so a lost one is a 503.

Of bytes that are no HTTP request, HAProxy says so in words that no configuration changes.
"""


_REFUSED = (
    (405, "there is no such method", "unless { method GET HEAD POST PUT PATCH DELETE OPTIONS TRACE }"),
    (400, "the path must begin with /", "unless { path -m beg / }"),
    (404, "this path is not served to callers", "if { path,url_dec -m beg -i /-/ } !{ path -i /-/healthz }"),
    (400, "this server speaks no WebSocket", "if { req.hdr(upgrade) -m sub -i websocket }"),
)
"""What no endpoint is asked: status, text and condition. Methods that they know they answer themselves."""


class Limits(NamedTuple):
    """What callers may take of HAProxy."""

    deadline_s: float
    """Longest time that a prediction may take."""
    operation_s: float
    """Longest time that any request may take."""
    connections_per_address: int | None = None
    """Connections that one address may hold; None: half of all."""


def told_in_json(config: str, directory: Path) -> tuple[str, dict[Path, bytes]]:
    """The configuration with error files of ours in place of any other, and those files.

    Args:
        config: As Ray writes it.
        directory: Where the files will lie.
    """
    replies = {directory / f"error-{code}.http": _reply(status, text) for code, (status, text) in _REPLIES.items()}
    ours = [f"    errorfile {code} {directory / f'error-{code}.http'}" for code in _REPLIES]
    lines = []
    for line in config.splitlines():
        if _ERROR_FILE.match(line) is None:
            lines.append(line)
        if (header := _SECTION.match(line)) is not None and header[1] == "defaults":
            lines.extend(ours)
    return "\n".join(lines) + "\n", replies


def _reply(status: str, text: str) -> bytes:
    body = json.dumps({"error": text}).encode()
    retry = "Retry-After: 1\r\n" if status.startswith("503") else ""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{retry}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def bounded(config: str, limits: Limits, open_files: int) -> str:
    """The configuration in which no caller holds HAProxy's connections, or sees what belongs to others.

    The head of a request has to arrive within 10 s, or the deadline where that is shorter; an idle connection is closed
    after 30 s. One address gets half of all connections at most, so that others always get in. Serve's own paths are
    answered 404, except for the health check, which load balancers ask. No connection is upgraded to anything. Where no
    application is known, Ray is not up yet: that is 503, never 404. Where an application has no replica, it is 503 at
    once.

    Args:
        config: As Ray writes it.
        limits: What callers may take.
        open_files: How many files the process may hold open; -1 for any number.
    """
    connections = _MOST_CONNECTIONS
    if open_files >= 0:  # each takes one for the caller and one for the replica
        connections = max(64, min(connections, (open_files - _SPARE_FILES) // 2))
    share = limits.connections_per_address or max(1, connections // 2)
    admit = [
        "    tcp-request connection track-sc0 src table callers",
        f"    tcp-request connection reject if {{ sc0_conn_cur gt {share} }}",
    ]
    added = {
        "global": [f"    maxconn {connections}", "    maxpipes 128"],
        "defaults": [
            f"    timeout client {_ms(limits.deadline_s + _MARGIN_S)}",
            f"    timeout server {_ms(limits.operation_s + _MARGIN_S)}",
            f"    timeout http-request {_ms(min(limits.deadline_s, _HEADER_S))}",
            f"    timeout http-keep-alive {_ms(_IDLE_S)}",
            f"    timeout queue {_ms(limits.deadline_s)}",
            "    option http-ignore-probes",
        ],
        "http_frontend": [
            *admit,
            *(f"    http-request return {_said(status, text)} {when}" for status, text, when in _REFUSED),
            "    http-request del-header upgrade",
        ],
        "grpc_frontend": admit,
    }
    predicts = "{ path_end /infer } or { path_end /predict }"
    shorter = f"    http-request set-timeout server {_ms(limits.deadline_s + _MARGIN_S)} if {predicts}"
    lines, section = [], ""
    pooled = _POOL.search(config) is not None
    for line in config.splitlines():
        if pooled and (use := _USE_MODEL.match(line)) is not None:
            lines.append(f"{line} {{ nbsrv({use[1]}) gt 0 }}")
            continue
        if _OURS.match(line) is not None and section in ("global", "defaults"):
            continue
        if _FALLBACK.match(line) is not None:
            continue
        is_lost = section == "default_backend" and _NOT_FOUND.match(line) is not None
        lines.append(
            f"    http-request return {_said(503, 'the platform is not up yet: try again')}" if is_lost else line
        )
        if (header := _SECTION.match(line)) is not None:
            section = header[2] or header[1]
            lines.extend(added.get(section, [shorter] if _is_application(header) else []))
    table = ["backend callers", f"    stick-table type ipv6 size {4 * connections} expire 1m store conn_cur"]
    return "\n".join([*lines, *table]) + "\n"


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1e3)}ms"


def _said(status: int, error: str) -> str:
    body = json.dumps({"error": error}).replace('"', '\\"')
    retry = "hdr Retry-After 1 " if status == 503 else ""
    return f'status {status} content-type application/json {retry}string "{body}"'


def _is_application(header: re.Match[str]) -> bool:
    return header[1] == "backend" and header[2] not in _NO_MODELS


def closed(config: str) -> str:
    """The configuration without needless listeners; those that do not serve callers are on 127.0.0.1.

    Raises:
        ValueError: A listener's address is none that we know.
    """
    section, lines = "", []
    for line in config.splitlines():
        header = _SECTION.match(line)
        section = section if header is None else header[2]
        if section not in _NOT_NEEDED:
            lines.append(_closed_line(line, section))
    return "\n".join(lines) + "\n"


def _closed_line(line: str, section: str) -> str:
    if (admin := _ADMIN.match(line)) is not None:
        return f"{admin[1]}{admin[2]}{admin[3]}mode 600 {admin[4]}"
    bind = _BIND.match(line)
    if bind is None or section in _SERVING:
        return line
    address = _ADDRESS.fullmatch(bind[2])
    if address is None:
        raise ValueError(f"{section!r} must listen on an address and a port, got {bind[2]!r}")
    return f"{bind[1]}127.0.0.1:{address[1]}{bind[3]}"


def listening_at(config: str) -> list[str]:
    """The addresses that a configuration listens on, in the order of its lines."""
    return [bind[2] for line in config.splitlines() if (bind := _BIND.match(line)) is not None]


def with_sockets(config: str, numbers: list[int]) -> str:
    """The configuration with open sockets, by their numbers, in place of the addresses that it listens on."""
    left = iter(numbers)
    return (
        "\n".join(_BIND.sub(lambda bind: f"{bind[1]}fd@{next(left)}{bind[3]}", line) for line in config.splitlines())
        + "\n"
    )


def _standby(config: str, directory: Path) -> str:
    """What the keeper starts: its admin socket is another, so that Ray notices, and every replica is taken for up.

    Where the keeper says so, it stops when all is done but to listen.
    """
    lines = [line for line in config.splitlines() if _STATE.match(line) is None]
    admin = directory / "standby.sock"
    given = [_ADMIN.sub(lambda found: f"{found[1]}{admin}{found[3]}{found[4]}", line) for line in lines]
    return "\n".join([*given, "global", f"    lua-load {directory / 'standby.lua'}"]) + "\n"


def write_wrapper(path: Path, binary: str, limits: Limits) -> None:
    """Write what Ray is to start in place of ``binary``."""
    command = [sys.executable, "-I", "-S", __file__, binary, json.dumps(limits)]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o700)


def main(binary: str, limits: Limits, arguments: list[str]) -> None:
    """Become ``binary``, started on the closed form of the configuration that ``-f`` names."""
    place = arguments.index("-f") + 1
    original = Path(arguments[place])
    directory = original.parent
    # Ray writes under this lock, and may write again before HAProxy has read: so HAProxy reads a file of its own
    with open(f"{original}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        config = original.read_text()
    # a manager of Ray's that has just been started knows no application: those that were there are there still
    known = Path(f"{original}.known")
    names_one = any(_is_application(header) for line in config.splitlines() if (header := _SECTION.match(line)))
    if not names_one and known.exists():
        config = known.read_text()
    told, replies = told_in_json(config, directory)
    ours = closed(bounded(told, limits, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    addresses = listening_at(ours)
    ours = with_sockets(ours, _sockets(directory, binary, original, addresses))
    files = {f"{original}.closed": ours, f"{original}.standby": _standby(ours, directory)}
    if names_one:
        files[str(known)] = config
    for path, content in {**replies, directory / "standby.lua": _STOP.encode()}.items():
        _write(path, content)
    _check(binary, directory, ours)
    for name, text in files.items():
        _write(Path(name), text.encode())
    asked = {"run": os.getpid(), "owner": _grandparent(), "addresses": addresses}
    reply, _ = _ask(_reach(directory, binary, original), asked)
    # Ray knows its HAProxy processes by the configuration's path among their arguments
    rest = _taking_over(arguments[place + 1 :], reply["running"])
    os.execv(binary, [str(original), *arguments[:place], f"{original}.closed", *rest])  # noqa: S606 - no shell is wanted


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def _check(binary: str, directory: Path, config: str) -> None:
    """End here where HAProxy refuses the configuration, and leave the last good one for the next start."""
    draft = directory / f"haproxy.check.{os.getpid()}"
    draft.write_text(config)
    try:
        child = os.posix_spawn(binary, [binary, "-c", "-f", str(draft)], os.environ)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        draft.unlink()
    if code != 0:
        sys.exit(f"HAProxy refuses the configuration: exit code {code}")


def _taking_over(arguments: list[str], running: list[int]) -> list[str]:
    """The arguments with every HAProxy that runs as a predecessor to stop; sockets come from no predecessor."""
    kept: list[str] = []
    predecessors = dict.fromkeys(map(str, running))
    option = ""
    for argument in arguments:
        if argument in ("-sf", "-x"):
            option = argument
        elif option == "-x":
            option = ""
        elif option == "-sf" and argument.isdigit():
            predecessors[argument] = None
        else:
            option = ""
            kept.append(argument)
    return [*kept, "-sf", *predecessors] if predecessors else kept


def _grandparent() -> int:
    """What HAProxy and its keeper live as long as: Ray's raylet, which started the manager, which started us."""
    try:
        fields = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 1
    return max(1, int(fields[1]))


def _sockets(directory: Path, binary: str, original: Path, addresses: list[str]) -> list[int]:
    """The numbers, in this process and in those it becomes, of sockets that listen on the addresses."""
    reply, received = _ask(_reach(directory, binary, original), {"bind": addresses})
    for mine, number in zip(received, reply["numbers"], strict=True):
        os.dup2(mine, number)
        os.close(mine)
    return [*reply["numbers"]]


def _ask(keeper: socket.socket, message: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    with keeper:
        keeper.settimeout(_START_S)
        keeper.sendall(json.dumps(message).encode() + b"\n")
        answer, received, _, _ = socket.recv_fds(keeper, 1 << 16, 64)
    if not answer:
        sys.exit("the keeper of HAProxy's sockets hung up")
    reply: dict[str, Any] = json.loads(answer)
    if "error" in reply:
        sys.exit(reply["error"])
    return reply, received


def _reach(directory: Path, binary: str, original: Path) -> socket.socket:
    """A connection to the keeper, which is started where none is."""
    now_s = time.monotonic()
    path, until_s = directory / "door.sock", now_s + _START_S
    # one that has been killed is followed by its spare at once
    start_s = now_s + _FOLLOWS_S if path.exists() else now_s
    while True:
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            keeper.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            keeper.close()
        else:
            return keeper
        if time.monotonic() > until_s:
            sys.exit(f"the keeper of HAProxy's sockets was not up within {_START_S:g} s")
        if time.monotonic() >= start_s:
            _start_keeper(directory, binary, original)
            start_s = until_s
        time.sleep(0.005)


def _start_keeper(directory: Path, binary: str, original: Path) -> None:
    """Start the keeper as a process of its own: it outlives the process that this one becomes."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    log = os.open(directory / "door.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, opened in enumerate((nothing, log, log)):
        os.dup2(opened, number)
    os.closerange(3, _MOST_OPEN_HERE)
    script = str(Path(__file__).with_name("haproxy_keeper.py"))
    os.execv(sys.executable, [sys.executable, "-I", "-S", script, str(directory), binary, original.name])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1], Limits(*json.loads(sys.argv[2])), sys.argv[3:])
