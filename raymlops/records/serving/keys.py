"""API keys: who may ask a platform for what, and about which model or environment."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, get_args

from pydantic import Field, model_validator

from raymlops.errors import ConfigError
from raymlops.records.names import check_label, check_name, did_you_mean
from raymlops.records.record import Instant, Record

__all__ = [
    "ALL_ENVIRONMENTS",
    "ALL_MODELS",
    "ENVIRONMENT",
    "ApiKey",
    "Grant",
    "KeyStore",
    "Scope",
    "new_key",
    "parse_grant",
    "split_key",
]

Scope = Literal["infer", "label", "read", "trigger", "operate", "admin"]
"""``infer``: predictions and metadata. ``label``: labels. ``read``: metadata and the console's pages. ``trigger``: ask
for retrainings. ``operate``: change what is served or deployed, and read. ``admin``: everything."""

ALL_MODELS = "*"
ENVIRONMENT = "env/"
"""Begins the target of a grant that is for an environment; no model has a slash in its name."""
ALL_ENVIRONMENTS = f"{ENVIRONMENT}*"

_PREFIX = "rml"
_SECRET_BYTES = 32


class Grant(Record):
    """A scope over one model, one environment, all models or all environments."""

    scope: Scope
    target: str = Field(ALL_MODELS, min_length=1, max_length=200)
    """A model's name, ``*`` (all models), ``env/NAME`` or ``env/*``; ``admin`` over ``*`` is over environments, too."""

    def covers(self, scope: Scope, target: str) -> bool:
        """Whether it allows ``scope`` over ``target``: a model, ``env/NAME``, or one of the two that stand for all."""
        return self._covers_scope(scope) and self._covers_target(target)

    def _covers_scope(self, scope: Scope) -> bool:
        return self.scope in {scope, "admin"} or (self.scope == "operate" and scope == "read")

    def _covers_target(self, target: str) -> bool:
        if self.target == ALL_MODELS:
            return self.scope == "admin" or not target.startswith(ENVIRONMENT)
        return self.target == target or (self.target == ALL_ENVIRONMENTS and target.startswith(ENVIRONMENT))

    def __str__(self) -> str:
        return f"{self.scope}:{self.target}"


class ApiKey(Record):
    """A key as it is kept: its secret is known to nobody but its owner."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=100)
    """Whose it is, for people."""
    grants: tuple[Grant, ...] = Field(min_length=1)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hex SHA-256 of the secret, which is random and long: no salt, and no slow hash, is needed."""
    created_at: Instant
    expires_at: Instant | None = None
    """By the system clock, also on a platform that replays another year; ``None``: never."""
    revoked_at: Instant | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_scopes(cls, given: Any) -> Any:
        """A key from before there were grants has scopes, each over all models."""
        if not isinstance(given, Mapping) or "scopes" not in given or "grants" in given:
            return given
        rest = {name: value for name, value in given.items() if name != "scopes"}
        return {**rest, "grants": [{"scope": scope, "target": ALL_MODELS} for scope in given["scopes"]]}

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes that it has over anything, each once."""
        return tuple(dict.fromkeys(grant.scope for grant in self.grants))

    @property
    def described(self) -> str:
        """The key as the ledger names it: never its text."""
        return f"key {self.id} ({self.name})"

    def allows(self, scope: Scope, target: str = ALL_MODELS) -> bool:
        """Whether a grant of the key covers ``scope`` over ``target``."""
        return any(grant.covers(scope, target) for grant in self.grants)

    def is_valid(self, at: datetime) -> bool:
        """Whether it opens anything at an instant of the system clock."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


def parse_grant(text: str) -> Grant:
    """Read ``SCOPE:TARGET``: ``infer:*``, ``operate:churn``, ``operate:env/staging``.

    Raises:
        ConfigError: There is no such scope, or the target is no name of a model or an environment.
    """
    scope, colon, target = text.partition(":")
    known = get_args(Scope)
    if scope not in known:
        raise ConfigError(f"scope must be one of {list(known)}, got {scope!r:.120}{did_you_mean(scope, known)}")
    if not colon:
        raise ConfigError(f"grant must be SCOPE:TARGET, as {scope}:* or {scope}:MODEL, got {text!r:.120}")
    if target not in {ALL_MODELS, ALL_ENVIRONMENTS}:
        is_environment = target.startswith(ENVIRONMENT)
        check_name("environment" if is_environment else "model", target.removeprefix(ENVIRONMENT))
    if target.startswith(ENVIRONMENT) and scope not in {"read", "operate", "admin"}:
        raise ConfigError(f"grant over an environment must be of read, operate or admin, got {text!r:.120}")
    return Grant.model_validate({"scope": scope, "target": target})


def new_key(
    name: str,
    scopes: Sequence[Scope],
    at: datetime,
    *,
    grants: Sequence[Grant] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key.

    Args:
        name: Whose it is.
        scopes: Scopes that it has over all models.
        at: When it is made.
        grants: Scopes that it has over one target.
        expires_at: From when on it opens nothing, by the system clock.

    Returns:
        What is kept, and the text for its owner: it cannot be had again.

    Raises:
        ConfigError: The name is no printable text.
    """
    check_label("name of an API key", name)
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        id=identifier,
        name=name,
        grants=tuple(dict.fromkeys((*(Grant(scope=scope) for scope in scopes), *grants))),
        digest=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=at,
        expires_at=expires_at,
    )
    return key, f"{_PREFIX}_{identifier}_{secret}"


def split_key(text: str) -> tuple[str, str] | None:
    """Id of a key's text and the digest of its secret; ``None`` where it is no key."""
    prefix, first, rest = text.partition("_")
    identifier, second, secret = rest.partition("_")
    if prefix != _PREFIX or not (first and second and secret):
        return None
    return identifier, hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class KeyStore(Protocol):
    """API keys."""

    def put_key(self, key: ApiKey) -> ApiKey:
        """Record a key; where its id is known, the key as it stands is returned.

        Raises:
            AlreadyRegistered: Another key has this id.
        """
        ...

    def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key open nothing any more; one that was revoked before stays as it is.

        Raises:
            NotFoundError: There is no such key.
        """
        ...

    def list_keys(self) -> list[ApiKey]:
        """All keys, those revoked among them, in the order they were made."""
        ...
