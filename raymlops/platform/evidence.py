"""Where the evidence of a score card comes from."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from raymlops.errors import NotFoundError

if TYPE_CHECKING:
    from raymlops.config.platform import PlatformConfig
    from raymlops.platform import Platform
    from raymlops.scorecard.card import ScoreCard
    from raymlops.scorecard.evidence import Settings

__all__ = ["score_of"]


def score_of(platform: Platform, model: str) -> ScoreCard:
    """Gather the evidence of a model, and answer every question from it."""
    from raymlops.scorecard.card import score
    from raymlops.scorecard.evidence import gather

    versions = platform.metadata.models.list_versions(model)
    if not versions:
        raise NotFoundError(f"no version of {model!r} is registered", model=model)
    config, environment = platform.config, versions[-1].environment
    here = platform if environment is None else platform.in_environment(environment)
    return score(
        gather(
            platform.metadata,
            model,
            platform.clock.now(),
            settings_of(config),
            definitions=here.reader.definitions(),
            probed=probed_at(config.home, model),
        )
    )


def settings_of(config: PlatformConfig) -> Settings:
    """What the configuration says that no record does."""
    from raymlops.scorecard.evidence import Settings

    serving, monitoring = config.serving, config.monitoring
    told = [webhook.name for webhook in monitoring.alerts.webhooks]
    if monitoring.metrics.port is not None:
        told.append("prometheus")
    return Settings(
        keys_required=serving.keys_required,
        retention_days=monitoring.retention.events.total_seconds() / 86400,
        told=tuple(told),
        loop_enabled=config.control.enabled,
    )


def probed_at(home: Path, model: str) -> list[datetime]:
    """When windows of a model were probed, whatever champion they were probed beside."""
    from raymlops.laboratory.probes.probe_files import SHOWN, read_shown

    folder = home / "laboratory" / model
    return [window.at for path in sorted(folder.glob(f"*/{SHOWN}")) for window in read_shown(path)]
