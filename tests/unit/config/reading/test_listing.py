from __future__ import annotations

import os
from pathlib import Path

import pytest

from raymlops.config.reading.listing import PROGRAM, list_settings, setting_sources
from raymlops.config.reading.loader import load_config


def test_who_gave_each_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "platform.yaml").write_text("serving: {port: 8100}\nenvironment: staging\n")
    environ = {"RAYMLOPS_HOME": str(tmp_path), "RAYMLOPS_CONTROL__EVERY": "3s"}
    config = load_config(environ=environ, overrides={"serving": {"host": "127.0.0.2"}})
    sources = setting_sources(config, environ)
    assert sources["serving.port"] == os.path.join("configs", "platform.yaml")
    assert sources["control.every"] == "RAYMLOPS_CONTROL__EVERY"
    assert sources["home"] == "RAYMLOPS_HOME"
    assert sources["serving.host"] == PROGRAM
    assert sources["serving.max_in_flight"] == "defaults"
    listed = {setting.name: setting for setting in list_settings(config, sources)}
    assert set(listed) == set(sources)
    assert (listed["serving.port"].value, listed["serving.port"].default) == (8100, False)
    assert (listed["control.every"].value, listed["control.every"].default) == ("3s", False)
    assert listed["serving.max_in_flight"].default


def test_without_sources_it_is_known_what_is_by_default(tmp_path: Path) -> None:
    config = load_config(environ={}, overrides={"home": str(tmp_path), "serving": {"port": 9999}})
    listed = {setting.name: setting.source for setting in list_settings(config, {})}
    assert listed["serving.port"] == "not known"
    assert listed["serving.host"] == "defaults"


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    url = "postgresql+psycopg://ann:secret@db/raymlops"
    config = load_config(environ={}, overrides={"home": str(tmp_path), "metadata": {"url": url}})
    (found,) = [setting for setting in list_settings(config, {}) if setting.name == "metadata.url"]
    assert found.value == "postgresql+psycopg://ann:***@db/raymlops"


def test_an_address_that_is_a_secret_is_not_shown(tmp_path: Path) -> None:
    hooks = [
        {"name": "chat", "url": "https://chat.example/services/SECRET"},
        {"name": "pager", "url_env": "PAGER_URL", "severities": ["critical"]},
    ]
    config = load_config(
        environ={},
        overrides={
            "home": str(tmp_path),
            "monitoring": {"alerts": {"webhooks": hooks}},
            "delivery": {"source": {"url": "https://git.example/SECRET"}},
            "features": {"storage_options": {"AWS_ENDPOINT_URL": "https://ann:SECRET@store.example"}},
        },
    )
    listed = {setting.name: setting.value for setting in list_settings(config, {})}
    assert "SECRET" not in str(listed)
    chat, pager = listed["monitoring.alerts.webhooks"]  # type: ignore[misc]
    assert (chat["name"], chat["url"], chat["severities"]) == ("chat", "***", ["warning", "critical"])
    assert (pager["url"], pager["url_env"], pager["severities"]) == ("", "PAGER_URL", ["critical"])
    assert listed["features.storage_options"] == {"AWS_ENDPOINT_URL": "https://ann:***@store.example"}
