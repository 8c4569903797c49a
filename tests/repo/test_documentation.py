"""The references of the documentation are complete, and the site builds without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from raymlops.cli.main import app
from raymlops.config.platform import PlatformConfig
from raymlops.records.bundles import ProjectSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The script that makes the references."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "hooks" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module


def leaves(document: Any, name: str = "") -> Iterator[str]:
    """Dotted names of what a dumped model holds."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield f"{name}{key}"
            yield from leaves(value, f"{name}{key}.")


def test_every_setting_is_told_with_a_description(reference: ModuleType) -> None:
    keys = {key.name: key for key in reference.keys_of(PlatformConfig)}
    dumped = set(leaves(PlatformConfig().model_dump(mode="json")))
    free = re.compile(r"^(delivery\.environments|serving\.\w+_options|features\.storage_options)\.")
    assert {name for name in dumped if not free.match(name)} - keys.keys() == set()
    assert [name for name, key in keys.items() if not key.description] == []
    assert {"monitoring.alerts.webhooks[].url", "delivery.environments.NAME.approvals"} <= keys.keys()
    page = reference.configuration_page()
    assert [name for name in keys if name.count(".") and f"`{name}`" not in page] == []


def test_every_key_of_a_project_is_told_with_a_description(reference: ModuleType) -> None:
    keys = reference.project_keys()
    assert [key.name for key in keys if not key.description] == []
    names = {key.name for key in keys}
    assert ProjectSpec.model_fields.keys() <= names
    assert {"data.label_delay", "training.quality.min_rows", "policy.triggers.cron.at", "replay.sample"} <= names
    page = reference.project_page()
    assert [name for name in names if f"`{name}`" not in page] == []


def test_a_key_says_what_it_takes_and_its_default(reference: ModuleType) -> None:
    class Inner(BaseModel):
        share: float = 0.5
        """Of all."""

    class Outer(BaseModel):
        name: str
        """What it is called."""
        parts: dict[str, Inner] = {}
        """By name."""
        undescribed: int | None = None

    told = {key.name: key for key in reference.keys_of(Outer)}
    assert (told["name"].type, told["name"].default) == ("text", "required")
    assert told["parts.NAME.share"].default == "0.5"
    assert (told["undescribed"].type, told["undescribed"].description) == ("whole number or null", "")


def test_every_command_is_told(reference: ModuleType) -> None:
    page = reference.cli_page()

    def names(command: Any, name: str) -> Iterator[str]:
        yield name
        for inner, each in getattr(command, "commands", {}).items():
            yield from names(each, f"{name} {inner}")

    found = list(names(typer.main.get_command(app), "raymlops"))
    assert len(found) > 60
    assert [name for name in found[1:] if f"`{name}`\n" not in page] == []


def test_every_public_package_has_a_page(reference: ModuleType) -> None:
    nav = (ROOT / "mkdocs.yml").read_text()
    assert [each for each in reference.PACKAGES if f"reference/api/{each}.md" not in nav] == []


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_no_other_host(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        build,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 90
    for name in ("reference/api/raymlops.platform.html", "reference/configuration.html", "guides/quick-start.html"):
        assert (tmp_path / "site" / name).stat().st_size > 10_000
    loaded = re.compile(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)|<link rel="stylesheet" href="(https?:[^"]+)')
    assert {found.group() for page in pages for found in loaded.finditer(page.read_text(encoding="utf-8"))} == set()
