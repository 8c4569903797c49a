from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from raymlops.config.delivery import DeliveryConfig, EnvironmentRules
from raymlops.config.source import SourceConfig
from raymlops.records.names import check_name


def test_the_first_pattern_that_fits_names_the_environment() -> None:
    source = SourceConfig(url="/srv/a.git", branches={"main": "dev", "release/*": "staging", "feature/*": "{branch}"})
    assert [source.environment_of(name) for name in ("main", "release/1", "other")] == ["dev", "staging", None]
    own = source.environment_of("feature/x")
    assert own is not None
    assert own.startswith("feature-x-")
    assert source.environment_of("feature/X") != own != source.environment_of("feature/x-")
    assert [source.has_own(name) for name in ("feature/x", "main", "release/1", "other")] == [True, False, False, False]


def test_no_branch_has_the_environment_that_another_one_is_called() -> None:
    source = SourceConfig(url="/srv/a.git", branches={"main": "dev", "*": "{branch}"})
    for branch in ("prod", "staging", "rehearsal", "1.0", "-", "\u65e5\u672c", "x" * 200):
        own = str(source.environment_of(branch))
        check_name("environment", own)
        assert source.gives(own)
        assert own != branch
    assert not source.gives("prod")
    config = DeliveryConfig(environments={"dev": EnvironmentRules(approvals=2)}, source=source)
    assert config.rules("staging") == EnvironmentRules()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "https://ada:secret@example.org/a.git"}, "must not hold a user or a password"),
        ({"url": "https://example.org/a.git?token=secret"}, "must have no query"),
        ({"url": "http://example.org/a.git"}, "must be https"),
        ({"url": "ssh://example.org/a.git"}, "must be https"),
        ({"url": "/a", "branches": {"main": "Prod Env"}}, "must be made of lower-case letters"),
        ({"url": "/a", "branches": {"f/*": f"{'n' * 30}-{{branch}}"}}, "short enough for any branch"),
        ({"url": "/a", "branches": {}}, "at least 1 item"),
        ({"url": "/a", "directory": "../b"}, "a path inside of the repository"),
        ({"url": "/a", "password_env": "A", "password_file": Path("/b")}, "at most one of"),
    ],
)
def test_what_cannot_be_watched_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as raised:
        SourceConfig.model_validate(settings)
    assert "secret" not in str(raised.value)


def test_the_environment_of_a_branch_has_the_rules_of_another() -> None:
    dev, prod = EnvironmentRules(approvals=2), EnvironmentRules(approvals=1)
    source = SourceConfig(url="/srv/a.git", branches={"main": "dev", "feature/*": "try-{branch}"})
    config = DeliveryConfig(environments={"dev": dev, "prod": prod}, source=source)
    own = str(source.environment_of("feature/x"))
    assert [config.rules(name) for name in (own, "dev", "prod")] == [dev, dev, prod]
    assert config.rules("other") == EnvironmentRules()
    assert config.model_copy(update={"source": None}).rules(own) == EnvironmentRules()


def test_a_rate_needs_a_bound_and_a_rehearsal() -> None:
    with pytest.raises(ValidationError, match="both rate_per_s and p99"):
        EnvironmentRules(rehearse=True, rate_per_s=10)
    with pytest.raises(ValidationError, match="set rehearse"):
        EnvironmentRules.model_validate({"rate_per_s": 10, "p99": "100ms"})
    assert EnvironmentRules.model_validate({"rehearse": True, "rate_per_s": 10, "p99": "100ms"}).load_for.seconds == 10


def test_production_asks_for_an_approval_unless_its_own_rules_say_otherwise() -> None:
    assert DeliveryConfig().rules("prod").approvals == 1
    assert DeliveryConfig(environments={"staging": EnvironmentRules()}).rules("prod").approvals == 1
    assert DeliveryConfig(environments={"prod": EnvironmentRules(clean=True)}).rules("prod").approvals == 0
