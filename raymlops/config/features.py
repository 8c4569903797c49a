"""The feature store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from pydantic import ConfigDict, Field, field_validator

from raymlops.config.section import Duration, Section, Span
from raymlops.config.section import parse_duration as _d
from raymlops.records.names import check_name

__all__ = ["ONLINE_SERVERS", "FeaturePlace", "FeaturesConfig", "OnlineServer"]


class OnlineServer(NamedTuple):
    """A kind of server that holds online features."""

    store: str
    """``module:Class`` of its ``OnlineStore``, called with the URL, ``writable``, ``prefix`` and ``password``."""
    password: str
    """Name of the environment variable that holds the password."""


_REDIS = OnlineServer("raymlops.features.online.redis:RedisOnlineStore", "RAYMLOPS_REDIS_PASSWORD")
ONLINE_SERVERS: Mapping[str, OnlineServer] = {"redis": _REDIS, "rediss": _REDIS, "unix": _REDIS}
"""Scheme of a server's URL -> the kind of server."""

_SECRETS = ("secret", "token", "password", "access_key", "account_key", "service_account_key", "credential")


class FeaturesConfig(Section):
    """Where online features are kept, and how much of the past is at hand."""

    model_config = ConfigDict(hide_input_in_errors=True)

    root: str | None = None
    """Where definitions, tables and training sets are: a directory, or a URI such as ``s3://BUCKET/PREFIX``; null is
    ``features`` in the home, where the online store is in any case."""
    storage_options: dict[str, str] = Field(default_factory=dict)
    """Options of the object store, such as ``AWS_REGION`` or ``AWS_ENDPOINT_URL``. Secrets come from the environment
    of the processes (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ...), and stand in no file."""
    history: Duration = _d("0s")
    """How far back an online read may ask (``at``) and still equal the point-in-time join; the longest aggregate
    window is kept on top of it."""
    online_bytes: int = Field(4 << 30, ge=1 << 20)
    """Largest size the online store may grow to; address space, not memory."""
    join_tasks_from_rows: int = Field(10_000_000, ge=1)
    """A training set whose spine and tables have as many rows together is joined by tasks on the cluster; a smaller
    one in the process that asks for it."""
    join_timeout: Span = _d("1h")
    """Deadline, on the wall clock, of such a join: waiting for free CPUs counts."""
    online_store: str = "lmdb"
    """``lmdb``: a file per node, read in process. Or a Redis or Valkey server that all nodes ask:
    ``redis://[USER@]HOST:PORT/DB``, ``rediss://...`` with TLS, ``unix:///SOCKET?db=DB``. The password comes from the
    variable ``RAYMLOPS_REDIS_PASSWORD`` of the processes that connect, and stands in no file."""
    online_prefix: str = Field("raymlops", pattern=r"^[A-Za-z0-9_.-]+$")
    """Begins the names of all keys on the server; platforms that share a server have different ones."""
    copy_every: Span = _d("200ms")
    """How often a node's copy of the LMDB file asks the writer for news: a push is seen there that much later, plus the
    time that its rows take."""
    copy_timeout: Span = _d("60s")
    """How long a node waits for its copy before it serves a feature service for the first time."""

    @property
    def online_server(self) -> OnlineServer | None:
        """The kind of server that holds online features; ``None`` where they are in LMDB files."""
        return ONLINE_SERVERS.get(urlsplit(self.online_store).scheme)

    def place(self, home: Path, environment: str | None = None) -> FeaturePlace:
        """Where the features of an environment are: nothing of it is another's.

        Args:
            home: The platform's.
            environment: Its name; ``None``: the platform's own.

        Raises:
            ConfigError: An environment cannot be called so.
        """
        local = home / "features"
        root = local if self.root is None else self.root
        if environment is None:
            return FeaturePlace(None, root, local, self)
        check_name("environment", environment)
        below = f"environments/{environment}"
        # No prefix that may be configured has an @, so that no other platform's keys begin so.
        settings = self.model_copy(update={"online_prefix": f"{self.online_prefix}@{environment}"})
        there = root / below if isinstance(root, Path) else f"{root.rstrip('/')}/{below}"
        return FeaturePlace(environment, there, local / below, settings)

    @field_validator("storage_options")
    @classmethod
    def _no_secrets(cls, options: dict[str, str]) -> dict[str, str]:
        secret = sorted(name for name in options if any(part in name.lower() for part in _SECRETS))
        if secret:
            raise ValueError(f"must hold no secrets: set {', '.join(secret)} in the environment")
        return options

    @field_validator("online_store")
    @classmethod
    def _known_store(cls, store: str) -> str:
        if store == "lmdb":
            return store
        parts = urlsplit(store)
        if parts.scheme not in ONLINE_SERVERS:
            raise ValueError(f"must be lmdb or start with one of {', '.join(f'{name}://' for name in ONLINE_SERVERS)}")
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise ValueError(f"must hold no password: set {ONLINE_SERVERS[parts.scheme].password}")
        return store


class FeaturePlace(NamedTuple):
    """Where the features of one environment are."""

    environment: str | None
    """``None``: the platform's own."""
    root: Path | str
    """Definitions, tables and training sets: a directory, or a URI in an object store."""
    local: Path
    """What stays on a node: the online store, and rows that are on their way."""
    settings: FeaturesConfig
    """As configured, with the prefix of this environment's keys on a server of online features."""
