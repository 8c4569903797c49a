"""Names that users give: one rule for each kind, asked where a name is first given.

A name becomes a directory, a part of a URL, of a header, of a Ray Serve application, a label of Prometheus, a Delta
table and a model of MLflow. The rules allow what is the same text in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, NamedTuple, TypeAlias

from raymlops.errors import AlreadyRegistered, ConfigError

__all__ = [
    "ENVIRONMENT_PATTERN",
    "WEBHOOK_PATTERN",
    "NameKind",
    "check_case",
    "check_digest",
    "check_label",
    "check_name",
    "check_path",
    "did_you_mean",
]

NameKind: TypeAlias = Literal[
    "model",
    "project",
    "training set",
    "alias",
    "run",
    "environment",
    "webhook",
    "entity",
    "view",
    "on-demand view",
    "service",
    "aggregate",
    "feature",
]

ENVIRONMENT_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
"""Names of environments; the configuration declares it as the pattern of a field."""
WEBHOOK_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""Names of webhooks; the configuration declares it as the pattern of a field."""


class _Rule(NamedTuple):
    pattern: re.Pattern[str]
    words: str
    """What ``pattern`` says, for people."""
    longest: int
    reserved: frozenset[str] = frozenset()
    """Names that are the platform's own, in lower case."""


_FILE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_FILE_WORDS = "letters a to z, digits, '.', '_' and '-', a letter or digit first, no '.' last"
_DEFINED = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")
# A double underscore parts view and field in a column's name.
_DEFINITION = _Rule(_DEFINED, "letters, digits and single underscores, a letter first", 80)
_FILE = _Rule(_FILE_NAME, _FILE_WORDS, 100)
_RULES: dict[str, _Rule] = {
    # "index" is a route beside the models' own; "gateway" an application of Ray Serve.
    "model": _FILE._replace(reserved=frozenset({"index", "gateway"})),
    # "batch-score" is the pipeline of batch scoring; runs/streamed holds no run.
    "project": _FILE._replace(reserved=frozenset({"batch-score"})),
    "run": _FILE._replace(longest=200, reserved=frozenset({"streamed"})),
    "training set": _FILE,
    "alias": _FILE,
    # "rehearsal." stands before the name of a model that is asked before it is put in service.
    "environment": _Rule(
        re.compile(ENVIRONMENT_PATTERN),
        "lower-case letters, digits, - and _, a letter first",
        63,
        frozenset({"rehearsal"}),
    ),
    "webhook": _Rule(re.compile(WEBHOOK_PATTERN), "lower-case letters, digits, - and _, a letter or digit first", 63),
}
_OWN_PREFIXES = ("candidate-",)
"""Ray Serve applications of versions on trial begin with it."""
_OWN_PARTS = (".draft-", ".trash-", ".building-")
"""Directories that are being written or removed are named with these."""
_PART = re.compile(r"[A-Za-z0-9 ._@-]{1,200}")
"""Blanks are in the names of models from before there were rules."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_name(kind: NameKind, name: object) -> None:
    """Refuse what is no name of this kind.

    Args:
        kind: What is named.
        name: What was given.

    Raises:
        ConfigError: The name breaks the rule of its kind, or is the platform's own.
    """
    rule = _RULES.get(kind, _DEFINITION)
    if isinstance(name, str) and len(name) > rule.longest:
        raise ConfigError(f"{kind} name must have at most {rule.longest} characters, got {len(name)}", name=name)
    if not isinstance(name, str) or rule.pattern.fullmatch(name) is None:
        raise ConfigError(f"{kind} name must be made of {rule.words}, got {name!r:.120}", name=name)
    folded = name.lower()
    own = [part for part in _OWN_PARTS if part in folded]
    own += [prefix for prefix in _OWN_PREFIXES if kind in {"model", "project"} and folded.startswith(prefix)]
    if own or folded in rule.reserved:
        what = f"{folded!r} is" if folded in rule.reserved else f"names with {own[0]!r} are"
        raise ConfigError(f"{kind} name must not be one of the platform's own: {what}, got {name!r}", name=name)


def check_case(kind: NameKind, name: str, taken: Iterable[str]) -> None:
    """Refuse a name that differs from another one by case alone: some file systems keep only one of the two.

    Args:
        kind: What is named.
        name: What was given.
        taken: Names that are there; the name itself may be among them.

    Raises:
        AlreadyRegistered: Another name is the same in lower case.
    """
    known = set(taken)
    if name in known:
        return
    other = next((each for each in sorted(known) if each.lower() == name.lower()), None)
    if other is not None:
        raise AlreadyRegistered(
            f"{kind} name must differ from {other!r} by more than the case of letters, got {name!r}", name=name
        )


def check_label(what: str, text: object, *, longest: int = 100) -> None:
    """Refuse what is no text for people of one line: who owns a key, who approves.

    Raises:
        ConfigError: It is empty, too long, has blanks at an end, or characters that cannot be printed.
    """
    if isinstance(text, str) and len(text) > longest:
        raise ConfigError(f"{what} must have at most {longest} characters, got {len(text)}")
    if not isinstance(text, str) or not text or text != text.strip() or not text.isprintable():
        raise ConfigError(f"{what} must be printable text without blanks at its ends, got {text!r:.120}")


def check_path(what: str, path: object) -> None:
    """Refuse a relative path that leads out of its directory, or that a Delta table cannot lie at.

    Raises:
        ConfigError: It is empty or absolute, or a part of it is empty, too long, ``.``, ``..`` or has other characters.
    """
    parts = path.split("/") if isinstance(path, str) else [""]
    if any(_PART.fullmatch(part) is None or part in {".", ".."} for part in parts):
        words = "parts of at most 200 letters a to z, digits, blanks, '.', '_', '@' and '-', none of them '.' or '..'"
        raise ConfigError(f"{what} must be {words}, got {path!r:.120}")


def check_digest(what: str, digest: object) -> None:
    """Refuse what is no hex SHA-256: it names a file.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        raise ConfigError(f"{what} must be 64 hexadecimal digits, got {digest!r:.120}")


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """``, did you mean 'NAME'?`` for what is nearly one of the known names; else nothing."""
    close = get_close_matches(str(given), sorted(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
