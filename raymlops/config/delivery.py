"""What a bundle must be before an environment runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, JsonValue, StringConstraints, field_validator, model_validator

from raymlops.config.section import Section, Span
from raymlops.config.section import parse_duration as _d
from raymlops.config.source import SourceConfig
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
    """So many runs of the bundle must have succeeded: in the environment of ``after`` where there is one."""
    rehearse: bool = False
    """Whether the bundle's definitions are installed, its pipeline is run once and the model that it registers is asked
    before anything is switched; that model is then served. Otherwise deploying a bundle is no more than a record of
    what the environment's runs use."""
    parameters: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Of the run of a rehearsal, over those of the project; see the parameters of training."""
    rows_from: _Environment | None = None
    """An environment whose rows a rehearsal copies into the feature tables of this one that have none. Null: none are
    copied: whoever feeds the environment brings its rows."""
    rate_per_s: float | None = Field(None, gt=0)
    """Requests per second that a rehearsal must answer, each within ``p99`` but for one in a hundred."""
    p99: Span | None = None
    """Latency from when a request was due, whether or not it could be sent then."""
    load_for: Span = _d("10s")
    """How long a rehearsal asks at that rate."""

    @model_validator(mode="after")
    def _load(self) -> Self:
        if (self.rate_per_s is None) != (self.p99 is None):
            raise ValueError("must have both rate_per_s and p99, or neither")
        if self.rate_per_s is not None and not self.rehearse:
            raise ValueError("rate_per_s and p99 are of a rehearsal: set rehearse")
        return self

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
    """Environment -> its rules; an environment that is not named has none, but for ``prod``, which asks for one
    approval then."""
    signing_key: Path | None = None
    """File with the private key that bundles are signed with, as ``raymlops delivery keygen`` wrote it."""
    build_user: str | None = None
    """Account, without rights, that runs the code of projects while they are built; the platform must run as root then.
    Null: the platform's own account runs it, and code of a project can read whatever that account can."""
    source: SourceConfig | None = None
    """Git repository whose pushes are built and deployed; null watches none."""

    @field_validator("environments")
    @classmethod
    def _prod(cls, environments: Mapping[str, EnvironmentRules]) -> Mapping[str, EnvironmentRules]:
        # Whoever writes down the rules of another environment must not open this one by that.
        return {"prod": EnvironmentRules(approvals=1), **environments}

    def rules(self, environment: str) -> EnvironmentRules:
        """The rules of an environment."""
        named = environment
        if self.source is not None and environment not in self.environments and self.source.gives(environment):
            named = self.source.like
        return self.environments.get(named, EnvironmentRules())
