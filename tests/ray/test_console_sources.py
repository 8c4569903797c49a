"""What the console reads of a cluster is bounded in time and in size. Starts no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.console.pages.ledger import VERIFY_S
from raymlops.runtime.serve.gateway import console_sources
from raymlops.runtime.serve.gateway.console_sources import cluster_sources


class Proxy:
    """Answers every call with what it was made of."""

    def __init__(self, *of: object) -> None:
        self._of = of

    def __getattr__(self, method: str) -> Any:
        return lambda *_: self._of


@pytest.fixture(autouse=True)
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_sources, "ActorProxy", Proxy)


def test_a_check_of_the_ledger_has_as_long_as_its_page(tmp_path: Path) -> None:
    metadata: Any = cluster_sources(PlatformConfig(home=tmp_path)).metadata
    assert metadata.ledger.verify_ledger() == ("metadata", VERIFY_S, "ledger")
    assert metadata.plans.find_plan("churn") == ("metadata", 10.0, "plans")


def test_a_log_of_any_size_is_read_from_its_end(tmp_path: Path) -> None:
    logs = tmp_path / "runs" / "r-1" / "logs"
    logs.mkdir(parents=True)
    (logs / "00-fit.1.log").write_text("x" * 1_000_000 + "the last line\n")
    (logs.parent / "driver.log").write_text("y" * 1_000_000)
    read = cluster_sources(PlatformConfig(home=tmp_path)).runs.logs
    assert len(read("r-1")) < 1_000_000
    assert read("r-1", "fit").endswith("the last line\n")
    assert len(read("r-1", "fit")) < 500_000
