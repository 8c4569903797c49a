"""The base of all persisted records."""

from __future__ import annotations

import hashlib
from typing import Annotated

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

from raymlops.clock import from_us, to_us
from raymlops.records.shown import html_of, one_line

__all__ = ["Instant", "Record", "canonical_json", "sha256_of"]

Instant = Annotated[AwareDatetime, AfterValidator(lambda instant: from_us(to_us(instant)))]
"""A tz-aware instant, held in UTC with microseconds."""


class Record(BaseModel):
    """An immutable value that crosses package and process borders; ``model_dump_json`` is how it is stored."""

    # Written as null (the default), a NaN metric could never be read back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def __repr__(self) -> str:
        return one_line(self)

    def _repr_html_(self) -> str:
        return html_of(self)


def canonical_json(value: object) -> bytes:
    """JSON bytes that are equal exactly where the values are: sorted keys, no white space, records dumped.

    Raises:
        TypeError: ``value`` holds something that JSON has no form for.
    """
    return orjson.dumps(value, default=_dump, option=orjson.OPT_SORT_KEYS | orjson.OPT_NAIVE_UTC)


def _dump(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"no canonical form for {type(value).__name__}")


def sha256_of(value: object) -> str:
    """Hex SHA-256 of ``canonical_json(value)``; of the bytes themselves where ``value`` is bytes."""
    return hashlib.sha256(value if isinstance(value, bytes) else canonical_json(value)).hexdigest()
