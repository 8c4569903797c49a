from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raymlops.config import DriftCount, PlatformConfig, TrialConfig, load_config
from raymlops.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with nothing in it, and a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    return tmp_path


def write(folder: Path, text: str, name: str = "configs/platform.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_need_no_file(folder: Path) -> None:
    config = load_config(environ={})
    assert config == PlatformConfig()
    assert config.home == folder / "me" / ".raymlops"
    assert config.environment == "dev"


def test_what_comes_later_wins_field_by_field(folder: Path) -> None:
    write(folder, "serving: {port: 1001, replicas: 2, host: h}\ncontrol: {trial: {weight: 0.2}}\nenvironment: staging")
    write(folder, "serving: {port: 1002, replicas: 3}\nhome: /a", "configs/env/staging.yaml")
    variables = {"RAYMLOPS_SERVING__PORT": "1003", "RAYMLOPS_HOME": "/b", "PATH": "/bin"}
    config = load_config(environ=variables, overrides={"home": Path("/c")})
    assert (config.serving.host, config.serving.replicas, config.serving.port) == ("h", 3, 1003)
    assert config.home == Path("/c")
    assert config.environment == "staging"
    assert config.control.trial.weight == 0.2


@pytest.mark.parametrize(("environment", "expected"), [("prod", 9), (None, 8), ("", 8)])
def test_a_named_environment_beats_the_file(folder: Path, environment: str | None, expected: int) -> None:
    write(folder, "environment: dev")
    write(folder, "serving: {replicas: 8}", "configs/env/dev.yaml")
    write(folder, "serving: {replicas: 9}", "configs/env/prod.yaml")
    assert load_config(environment=environment, environ={}).serving.replicas == expected
    assert load_config(environ={"RAYMLOPS_ENV": environment or ""}).serving.replicas == expected


def test_the_file_may_be_named(folder: Path) -> None:
    path = write(folder, "serving: {port: 7}", "other/mine.yaml")
    assert load_config(path, environ={}).serving.port == 7
    assert load_config(environ={"RAYMLOPS_CONFIG": str(path)}).serving.port == 7


def test_variables_are_yaml_values(folder: Path) -> None:
    config = load_config(
        environ={
            "RAYMLOPS_CONTROL__TRIGGERS__DRIFT": "{n: 1, of: 1}",
            "RAYMLOPS_CONTROL__TRIGGERS__PERFORMANCE": "null",
            "RAYMLOPS_METADATA__MLFLOW": "false",
            "RAYMLOPS_MONITORING__WINDOW": "7d",
            "RAYMLOPS_CLOCK__KIND": "replay",
            "RAYMLOPS_CLOCK__START": "2013-03-01T00:00:00+00:00",
        }
    )
    assert config.control.triggers.drift == DriftCount(n=1, of=1)
    assert config.control.triggers.performance is None
    assert config.metadata.mlflow is False
    assert config.monitoring.window == timedelta(days=7)
    assert config.clock.start == datetime(2013, 3, 1, tzinfo=UTC)


def test_overrides_may_be_python_values(folder: Path) -> None:
    trial = TrialConfig(weight=0.4, max_duration=timedelta(hours=3))
    config = load_config(environ={}, overrides={"control": {"trial": trial, "every": timedelta(seconds=2)}})
    assert config.control.trial == trial
    assert config.control.every == timedelta(seconds=2)


def test_an_empty_section_sets_nothing(folder: Path) -> None:
    write(folder, "serving:\ncontrol:\n  trial:\n")
    assert load_config(environ={}) == PlatformConfig()


def test_the_loaded_configuration_pickles(folder: Path) -> None:
    config = load_config(environ={"RAYMLOPS_SERVING__PORT": "9"})
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("serving: {port: 70000}", "serving.port must be less than or equal to 65535, got 70000"),
        ("serving: {port: '8000'}", "serving.port must be a valid integer, got '8000'"),
        ("serving: {port: yes}", "serving.port must be a valid integer, got True"),
        ("serving: {prot: 1}", "serving.prot is not a setting; known here: access_log"),
        ("sevring: {}", "sevring is not a setting; known here: batch, clock, cluster, control"),
        ("serving: 8000", "serving must be an object, got 8000"),
        ("control: {trial: {weight: 2}}", "control.trial.weight must be less than or equal to 1, got 2"),
        ("control: {trial: {effect: 0.05}}", "control.trial.effect is gone, since bounds no longer depend on the unit"),
        ("control: {trial: {tolerance: 0.05}}", "control.trial.tolerance is now margin: the upper bound"),
        ("control: {trial: {max_fault_share: 0.05}}", "control.trial.max_fault_share is now fault_margin: faults"),
        ("control: {trial: {min_rows: 20}}", "control.trial.min_rows is now min_requests: what the candidate"),
        ("control: {trial: {ramp: [0.5, 0.3]}}", "control.trial ramp must be ascending shares above 0.5 and below 1"),
        ("control: {every: 5}", "control.every must carry its unit, as in 7d or 1h30m, got 5"),
        ("control: {triggers: {drift: {n: 3, of: 2}}}", "control.triggers.drift n must not exceed of, which is 2"),
        ("clock: {start: 2013-01-01T00:00:00}", "clock.start must have timezone info"),
        ("home: [1]", "home"),
        ("metadata: {url: 'mysql://me:secret@h/d'}", "metadata.url must start with sqlite:///"),
    ],
)
def test_an_error_names_file_field_rule_and_value(folder: Path, text: str, message: str) -> None:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_config(environ={})
    assert str(caught.value).startswith(f"{path.relative_to(folder)}: ")
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_error_names_the_source_that_set_the_field(folder: Path) -> None:
    write(folder, "serving: {port: 8000, replicas: 0}\nenvironment: dev")
    write(folder, "monitoring: {window: soon}", "configs/env/dev.yaml")
    with pytest.raises(ConfigError) as caught:
        load_config(environ={"RAYMLOPS_SERVING__PORT": "0"})
    message = str(caught.value)
    assert "configs/platform.yaml: serving.replicas" in message
    assert "configs/env/dev.yaml: monitoring.window" in message
    assert "RAYMLOPS_SERVING__PORT: serving.port" in message
    assert caught.value.context["fields"] == ["serving.port", "serving.replicas", "monitoring.window"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("serving: {port: 1", "is not YAML"),
        ("serving: {port: 1, port: 2}", "'port' is given twice"),
        ("- 1", "must hold a mapping of settings, got list"),
        ("1: 2", "1 names no setting"),
        ("\x00", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
        ("serving: {1: 2}", "1 names no setting"),
        ("serving: {[a]: 2}", "names no setting"),
    ],
)
def test_files_that_are_no_configuration(folder: Path, text: str, message: str) -> None:
    write(folder, text)
    with pytest.raises(ConfigError, match=r"configs/platform\.yaml") as caught:
        load_config(environ={})
    assert message in str(caught.value)


def test_missing_files(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_config("nowhere.yaml", environ={})
    with pytest.raises(ConfigError, match=r"configs/env/qa\.yaml: cannot be read"):
        load_config(environment="qa", environ={})
    with pytest.raises(ConfigError, match="environment name must be made of"):
        load_config(environment="../prod", environ={})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RAYMLOPS_SERVING__PROT", "1", "serving.prot is not a setting"),
        ("RAYMLOPS_SERVNG__PORT", "1", "servng is not a setting"),
        ("RAYMLOPS_SERVING_PORT", "1", "RAYMLOPS_SERVING__PORT"),
        ("RAYMLOPS_SERVING__PORT__X", "1", "serving.port"),
        ("RAYMLOPS_SERVING__", "1", "serving. is not a setting"),
        ("RAYMLOPS_SERVING__PORT", "{", "is not a YAML value"),
    ],
)
def test_wrong_variables(folder: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(environ={name: value})
    assert name in str(caught.value)


def test_other_variables_of_the_platform_are_left_alone(folder: Path) -> None:
    assert load_config(environ={"RAYMLOPS_CLUSTER": "ab12", "RAYMLOPS_RUN_ID": "r"}) == PlatformConfig()


def test_the_process_environment_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMLOPS_SERVING__PORT", "8123")
    assert load_config().serving.port == 8123


@pytest.mark.parametrize(
    "text",
    [
        "monitoring: {alerts: {webhooks: [{name: a, url: 'http://example.org/s3cret'}]}}",
        "monitoring: {alerts: {webhooks: [{name: 'S3CRET s3cret', url: 'https://example.org'}]}}",
        "features: {online_store: 'redis://u:s3cret@h/0'}",
        "features: {storage_options: {AWS_SECRET_ACCESS_KEY: s3cret}}",
    ],
)
def test_values_that_may_be_secrets_are_not_shown(folder: Path, text: str) -> None:
    write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_config(environ={})
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith("configs/platform.yaml: ")
