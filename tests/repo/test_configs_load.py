"""The shipped configuration loads, in every environment, and names every setting it changes by its real name."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymlops.config import PlatformConfig, load_config

ROOT = Path(__file__).parents[2]
FILE = ROOT / "configs" / "platform.yaml"
ENVIRONMENTS = sorted(path.stem for path in (ROOT / "configs" / "env").glob("*.yaml"))


def test_the_environments_are_there() -> None:
    assert ENVIRONMENTS == ["dev", "prod", "staging"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_environment_loads(environment: str) -> None:
    config = load_config(FILE, environment=environment, environ={})
    assert config.environment == environment
    assert config.serving.host == "127.0.0.1"
    assert config != PlatformConfig(environment=environment)


def test_without_an_environment_the_file_alone_is_read() -> None:
    config = load_config(FILE, environ={})
    assert config.environment == "dev"
    assert config.monitoring.window == PlatformConfig().monitoring.window


def test_every_setting_has_a_docstring() -> None:
    """pydantic reads the text under each field; a setting without one is a setting nobody can use."""
    import ast

    bare = []
    for path in sorted((ROOT / "raymlops" / "config").glob("*.py")):
        for cls in [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]:
            for field, after in zip(cls.body, [*cls.body[1:], ast.Pass()], strict=True):
                described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and not described and not cls.name.startswith("_"):
                    bare.append(f"{path.name}: {cls.name}.{ast.unparse(field.target)}")
    assert bare == []


def test_the_year_of_flights_leaves_when_to_retrain_to_the_defaults() -> None:
    config = load_config(ROOT / "examples" / "flights" / "platform.yaml", environ={})
    plain = PlatformConfig()
    assert config.control.triggers == plain.control.triggers
    assert config.control.retrain == plain.control.retrain
    assert config.control.probes == plain.control.probes
    assert config.monitoring.drift == plain.monitoring.drift
    assert config.monitoring.performance == plain.monitoring.performance
