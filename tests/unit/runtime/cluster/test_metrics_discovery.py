from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from raymlops.config.alerts import MetricsConfig
from raymlops.runtime.cluster.metrics_discovery import announce_metrics, join_rays_job

RAYS = """# my global config
global:
  scrape_interval: 10s # Set the scrape interval
scrape_configs:
- job_name: 'ray'
  file_sd_configs:
  - files:
    - '/tmp/ray/session/prom_metrics_service_discovery.json'
"""


def test_the_discovery_file_is_what_prometheus_reads(tmp_path: Path) -> None:
    path = announce_metrics(tmp_path, MetricsConfig(port=9400, host="::1"))
    assert path is not None
    assert json.loads(path.read_text()) == [{"targets": ["[::1]:9400"], "labels": {"job": "raymlops"}}]
    assert announce_metrics(tmp_path, MetricsConfig()) is None
    assert not path.exists()


def test_rays_job_reads_our_file_beside_its_own(tmp_path: Path) -> None:
    config = tmp_path / "metrics" / "prometheus" / "prometheus.yml"
    config.parent.mkdir(parents=True)
    config.write_text(RAYS)
    path = announce_metrics(tmp_path, MetricsConfig(port=9400))
    assert path is not None
    assert join_rays_job(tmp_path, path)
    first = config.read_text()
    files = yaml.safe_load(first)["scrape_configs"][0]["file_sd_configs"][0]["files"]
    assert files == ["/tmp/ray/session/prom_metrics_service_discovery.json", str(path)]
    assert join_rays_job(tmp_path, path)
    assert config.read_text() == first


def test_a_dashboard_that_is_away_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not join_rays_job(tmp_path, tmp_path / "file", timeout_s=0)
    assert "there is no " + str(tmp_path) in caplog.text
