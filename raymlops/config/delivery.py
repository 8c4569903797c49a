"""What a bundle must be before an environment runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from raymlops.config.section import Section
from raymlops.records.names import ENVIRONMENT_PATTERN

__all__ = ["DeliveryConfig", "EnvironmentRules"]

_Environment = Annotated[str, StringConstraints(pattern=ENVIRONMENT_PATTERN)]


class EnvironmentRules(Section):
    """The rules of one environment; by default there is none."""

    approvals: int = Field(0, ge=0)
    """So many people must have approved a bundle; neither its builder nor the author of its commit counts."""
    builders: Mapping[str, str] = Field(default_factory=dict)
    """Builders whose signature is trusted: name -> public key, as ``raymlops delivery keygen`` printed it. Where there
    are some, one of them must have signed."""
    clean: bool = False
    """Whether a bundle must be exactly what a commit holds."""
    branch: str | None = None
    """The branch that it must have been built from."""
    after: _Environment | None = None
    """An environment that it must have been deployed in before."""
    green_runs: int = Field(0, ge=0)
    """So many runs of the bundle must have succeeded."""

    @field_validator("builders")
    @classmethod
    def _public_keys(cls, builders: Mapping[str, str]) -> Mapping[str, str]:
        for name, key in builders.items():
            scheme, _, number = key.partition(":")
            if scheme != "ed25519" or len(number) != 64 or set(number) - set("0123456789abcdef"):
                raise ValueError(f"public key of {name!r} must be ed25519: and 64 hexadecimal digits")
        return builders


class DeliveryConfig(Section):
    """Bundles and environments."""

    environments: Mapping[_Environment, EnvironmentRules] = Field({"prod": EnvironmentRules(approvals=1)})
    """Environment -> its rules; an environment that is not named has none."""
    signing_key: Path | None = None
    """File with the private key that bundles are signed with, as ``raymlops delivery keygen`` wrote it."""

    def rules(self, environment: str) -> EnvironmentRules:
        """The rules of an environment."""
        return self.environments.get(environment, EnvironmentRules())
