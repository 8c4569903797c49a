"""Approvals by both doors, the command line and HTTP: what counts is who showed a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from raymlops.cli import delivery as commands
from raymlops.cli.main import app
from raymlops.clock import ManualClock
from raymlops.config.reading.loader import load_config
from raymlops.delivery import build_bundle
from raymlops.errors import DeploymentError
from raymlops.records.bundles import BundleManifest
from raymlops.records.ledger import Ledger
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator
from raymlops.runtime.serve.gateway.approvals import Approvals
from raymlops.serving.protocol.http import HttpRequest
from raymlops.testing.metadata_examples import EPOCH
from tests.support.console_actions import World
from tests.support.deployed_bundles import deploy_bundle

PROJECT = "name: ratios\nmodel: ratios\ndefinitions: ratios:ALL\nservice: s\nspine: ratios:spine\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    def ledger() -> Ledger:
        return opened.metadata.ledger

    opened = World(tmp_path, delivery=Approvals(tmp_path, ledger))
    yield opened
    opened.close()


@pytest.fixture
def bundle(tmp_path: Path) -> BundleManifest:
    project = tmp_path / "project"
    project.mkdir()
    files = {"project.yaml": PROJECT, "ratios.py": "ALL = []\n", "pytest.py": "print('1 passed')\n"}
    for name, text in files.items():
        (project / name).write_text(text)
    return build_bundle(project, tmp_path / "bundles", ManualClock(EPOCH), by="root")


def _refused(world: World, bundle: BundleManifest) -> str:
    with pytest.raises(DeploymentError) as told:
        deploy_bundle(bundle, "prod", world.metadata, world.clock)
    return str(told.value)


def _by_command(world: World, bundle: BundleManifest, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    config = load_config(environ={}, overrides={"home": str(world.sources.config.home)})
    operator = DeliveryOperator(config, world.metadata, world.clock)

    @contextmanager
    def connected(config: Path | None = None) -> Iterator[Any]:
        yield SimpleNamespace(delivery=operator)

    monkeypatch.setattr(commands, "platform", connected)
    return CliRunner().invoke(app, ["delivery", "approve", bundle.digest, "--env", "prod", *options])


def test_the_command_line_counts_who_shows_a_key(
    world: World, bundle: BundleManifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.key("operate:env/prod", name="carol")
    said = _by_command(world, bundle, monkeypatch, "--by", "bob")
    assert (said.exit_code, said.stderr.startswith("note: no key was shown")) == (0, True), said.stderr
    assert "is by 0: nobody (who said 'bob' showed no key)" in _refused(world, bundle)
    file = tmp_path / "key"
    for text, told in (
        (world.key("operate:env/staging", name="bob"), "'operate' over 'env/prod' is needed"),
        ("rml_000000000000_x", "a valid API key is needed"),
        (world.key("operate:env/prod", name="ROOT"), ""),
    ):
        file.write_text(f"{text}\n")
        done = _by_command(world, bundle, monkeypatch, "--key-file", str(file), "--by", "bob")
        assert (done.exit_code == 0) == (told == ""), done.stderr
        assert told in " ".join(done.stderr.split())
    assert "its builder and its author do not count" in _refused(world, bundle)
    missing = _by_command(world, bundle, monkeypatch, "--key-file", str(tmp_path / "none"))
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)
    file.write_text(world.key("operate:env/*", name="bob"))
    assert _by_command(world, bundle, monkeypatch, "--key-file", str(file)).exit_code == 0
    assert deploy_bundle(bundle, "prod", world.metadata, world.clock).bundle == bundle.digest


@pytest.mark.asyncio
async def test_http_counts_the_owner_of_the_key(world: World, bundle: BundleManifest) -> None:
    body = orjson.dumps({"parameters": {"bundle": bundle.digest, "reason": "I have read it"}})

    async def approve(text: str) -> int:
        path, headers = "/v2/repository/environments/prod/approve", {"authorization": f"Bearer {text}"}
        return (await world.gateway.handle(HttpRequest("POST", path, headers, body))).status

    assert [await approve("none"), await approve(world.key("operate:env/staging", name="bob"))] == [401, 403]
    assert "is by 0: nobody" in _refused(world, bundle)
    assert await approve(world.key("operate:env/prod", name="root")) == 200
    assert "its builder and its author do not count" in _refused(world, bundle)
    assert await approve(world.key("operate:env/prod", name="bob")) == 200
    assert deploy_bundle(bundle, "prod", world.metadata, world.clock).bundle == bundle.digest
