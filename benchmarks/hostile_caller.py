"""What the neighbours of a hostile caller notice: ``python -m benchmarks.hostile_caller`` (docs/security.md).

A platform of its own serves one model behind keys. A neighbour asks 30 times a second, each request when it is due,
while another caller with an infer key does one hostile thing after the other for ten seconds each. The figure is the
neighbour's p99 beside what it is while nobody else asks, in the same run.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SECONDS, RATE = 10.0, 30.0
MODEL = "hostile"
_NEIGHBOUR = "neighbour"


def main() -> int:
    """Start the platform, measure, print a table."""
    with tempfile.TemporaryDirectory(prefix="rml-", dir="/tmp") as home:
        port = _free_port()
        environment = {**os.environ, "RAYMLOPS_HOME": home, "RAYMLOPS_SERVING__PORT": str(port)}
        environment["RAYMLOPS_SERVING__REQUIRE_KEYS"] = "true"
        cli = [sys.executable, "-m", "raymlops.cli.main"]
        made = subprocess.run(
            [*cli, "keys", "create", "caller", "--scope", "infer"], env=environment, check=True, capture_output=True
        )
        key = made.stdout.decode().split()[0]
        subprocess.run([*cli, "up"], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)
        try:
            subprocess.run([sys.executable, "-c", _DEPLOY], env=environment, check=True, timeout=200)
            _report(port, key)
        finally:
            subprocess.run([*cli, "down"], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=100)
    return 0


_DEPLOY = f"""
import numpy as np, pyarrow as pa, raymlops
from sklearn.linear_model import LogisticRegression
rows = np.random.default_rng(0).normal(size=(50, 3))
with raymlops.connect(start=False) as platform:
    fitted = LogisticRegression().fit(rows, rows[:, 0] > 0)
    example = pa.table({{name: rows[:, n] for n, name in enumerate("abc")}})
    platform.endpoints.deploy("{MODEL}", platform.models.register("{MODEL}", fitted, example=example).version)
"""


def _report(port: int, key: str) -> None:
    print("| what the hostile caller does | neighbour's p50 | p99 | longest | not 200 | hostile answers |")
    print("|---|---|---|---|---|---|")
    for name, attack in {"nothing": None, **_attacks(port, key)}.items():
        stop, seen = threading.Event(), {}
        thread = threading.Thread(target=_again, args=(attack, stop, seen), daemon=True)
        thread.start()
        command = [sys.executable, "-m", "benchmarks.hostile_caller", _NEIGHBOUR, str(port), key]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
        stop.set()
        thread.join(60)
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(seen.items())) or "-"
        p50, p99, longest = (f"{1e3 * told[name]:.0f} ms" for name in ("p50", "p99", "longest"))
        print(f"| {name} | {p50} | {p99} | {longest} | {told['wrong']} of {told['asked']} | {answers} |", flush=True)


def _again(attack: Callable[[], str] | None, stop: threading.Event, seen: dict[str, int]) -> None:
    while attack is not None and not stop.is_set():
        try:
            status = attack()
        except (OSError, http.client.HTTPException) as error:
            status = type(error).__name__
        seen[status] = seen.get(status, 0) + 1


def _attacks(port: int, key: str) -> dict[str, Callable[[], str]]:
    n = (15 << 20) // 8
    nested = b'{"inputs":[{"name":"features","datatype":"FP64","shape":[%d,3],"data":[' % n
    nested += b",".join([b"[1,2,3]"] * n) + b"]}]}"
    deep = b"[" * 100_000
    long_id = json.dumps({"id": "x" * (8 << 20), "inputs": []}).encode()
    few = {"name": "features", "datatype": "FP64", "shape": [1000, 3], "data": [1.0] * 3000}
    many = json.dumps({"inputs": [few]}).encode()

    def post(body: bytes, path: str = "infer", **headers: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(
                "POST", f"/v2/models/{MODEL}/{path}", body, {"Authorization": f"Bearer {key}", **headers}
            )
            return str(connection.getresponse().status)
        finally:
            connection.close()

    held: list[socket.socket] = []

    def idle() -> str:
        if len(held) < 4200:
            held.extend(socket.create_connection(("127.0.0.1", port), 5) for _ in range(100))
        else:
            time.sleep(0.1)
        return "connected"

    return {
        "15 MB of nested rows": lambda: post(nested),
        "100,000 open brackets": lambda: post(deep),
        "an id of 8 MB": lambda: post(long_id),
        "1,000 rows, again and again": lambda: post(many),
        "a header of 20 kB": lambda: post(b"{}", **{"X-Sticky-Key": "k" * 20_000}),
        "a path that climbs to an order": lambda: post(b"{}", "../../repository/models/hostile/unload"),
        "4,200 idle connections": idle,
    }


def neighbour(port: int, key: str) -> None:
    """Ask at the rate, each request when it is due; prints the times as JSON."""
    body = json.dumps(
        {"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 3], "data": [1, 2, 3]}]}
    ).encode()
    headers = {"Authorization": f"Bearer {key}"}
    took: list[float] = []
    wrong = [0]

    def ask(due: float) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
            reply = connection.getresponse()
            reply.read()
            wrong[0] += reply.status != 200
            connection.close()
        except (OSError, http.client.HTTPException):
            wrong[0] += 1
        took.append(time.perf_counter() - due)

    start, threads = time.perf_counter() + 0.2, []
    for number in range(int(SECONDS * RATE)):
        due = start + number / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        threads.append(threading.Thread(target=ask, args=(due,), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    p50, p99 = np.quantile(took, [0.5, 0.99])
    told = {"p50": p50, "p99": p99, "longest": max(took), "wrong": wrong[0], "asked": len(took)}
    print(json.dumps(told))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    if sys.argv[1:2] == [_NEIGHBOUR]:
        neighbour(int(sys.argv[2]), sys.argv[3])
    else:
        Path("out").mkdir(exist_ok=True)
        sys.exit(main())
