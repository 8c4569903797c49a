"""Tells Prometheus where the platform's metrics are: a discovery file beside Ray's own."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import yaml

from raymlops.config.alerts import MetricsConfig
from raymlops.scratch import write_whole

__all__ = ["DISCOVERY_FILE", "announce_metrics", "join_rays_job"]

DISCOVERY_FILE = "raymlops_service_discovery.json"
"""Name of the file, in the directory of Ray's session; on a foreign cluster, in the home."""
_RAYS_CONFIG = Path("metrics", "prometheus", "prometheus.yml")
_LOOK_S = 0.1

_log = logging.getLogger(__name__)


def announce_metrics(directory: Path, metrics: MetricsConfig) -> Path | None:
    """Write the discovery file (``file_sd_configs``) of the platform's metrics into a directory.

    Returns:
        The file; ``None`` where metrics are off, and no file is left.
    """
    path = directory / DISCOVERY_FILE
    if metrics.port is None:
        path.unlink(missing_ok=True)
        return None
    host = f"[{metrics.host}]" if ":" in metrics.host else metrics.host
    target = {"targets": [f"{host}:{metrics.port}"], "labels": {"job": "raymlops"}}
    write_whole(path, (json.dumps([target], indent=2) + "\n").encode())
    return path


def join_rays_job(session: Path, path: Path, timeout_s: float = 30.0) -> bool:
    """Have the Prometheus job that Ray sets up read a discovery file beside its own. A repeat changes nothing.

    Args:
        session: Directory of Ray's session, where the dashboard writes the configuration of Prometheus as it starts.
        path: The discovery file.
        timeout_s: How long to wait for that configuration.

    Returns:
        Whether the configuration names the file; where the dashboard is away there is none.
    """
    config_path, ends_s = session / _RAYS_CONFIG, time.monotonic() + timeout_s
    while True:
        config = yaml.safe_load(config_path.read_text()) if config_path.exists() else None
        jobs = [] if not isinstance(config, dict) else config.get("scrape_configs", [])
        for discovery in (each for job in jobs for each in job.get("file_sd_configs") or []):
            if str(path) not in discovery["files"]:
                discovery["files"].append(str(path))
                write_whole(config_path, yaml.safe_dump(config, sort_keys=False).encode())
            return True
        if time.monotonic() > ends_s:
            _log.warning("Ray's Prometheus does not find the metrics of the platform: there is no %s", config_path)
            return False
        time.sleep(_LOOK_S)  # its writer does not replace it at once: half a file has no job
