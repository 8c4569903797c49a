"""How objects show themselves to people: one line in a terminal, a table in a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Listed", "frame_of", "html_of", "one_line", "shown"]

T = TypeVar("T")

_VALUE_CHARS, _LINE_CHARS, _CELL_CHARS = 80, 300, 200
_ROWS = 20
"""Rows of a table that a notebook shows."""
_FEW = 4
"""Collections up to this size are shown whole."""
_NAMES = "_shown_names_"


def shown(*names: str, line: bool = True) -> Callable[[type[T]], type[T]]:
    """Let the objects of a class show themselves, by the given attributes, or by all its fields.

    Args:
        names: Attributes that are shown; left out, the fields of the class.
        line: Whether ``repr`` is replaced; a repr that is code is kept.
    """

    def add(kind: type[T]) -> type[T]:
        if names:
            setattr(kind, _NAMES, names)
        if line:
            kind.__repr__ = one_line  # type: ignore[method-assign]  # of any object
        kind._repr_html_ = html_of  # type: ignore[attr-defined]  # which IPython asks for by this name
        return kind

    return add


class Listed(list[T]):
    """A list of records, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return _table(self)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each record, one column for each field."""
        return frame_of(self)


def one_line(thing: object) -> str:
    """The object in one line: its class and its fields, long ones shortened."""
    parts, length = [], 0
    for name, value in _fields_of(thing):
        part = f"{name}={_short(value, _VALUE_CHARS)}"
        length += len(part) + 2
        if length > _LINE_CHARS:
            parts.append("...")
            break
        parts.append(part)
    return f"{type(thing).__name__}({', '.join(parts)})"


def html_of(thing: object) -> str:
    """The object as a table of its fields, for a notebook. All text is escaped, and there is no script."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_cell(value)}</td></tr>' for name, value in _fields_of(thing)
    )
    return f"<table><caption>{escape(type(thing).__name__)}</caption><tbody>{rows}</tbody></table>"


def frame_of(rows: Sequence[object]) -> pd.DataFrame:
    """Records as a frame of pandas: one row each, one column for each field."""
    import pandas as pd

    return pd.DataFrame([dict(_fields_of(row)) for row in rows])


def _fields_of(thing: object) -> Iterator[tuple[str, Any]]:
    names: Sequence[str] | None = getattr(type(thing), _NAMES, None)
    if names is None:
        names = _declared(thing)
    for name in names:
        yield name, getattr(thing, name)


def _declared(thing: object) -> list[str]:
    kind = type(thing)
    fields: Any = getattr(kind, "model_fields", None)
    if fields is not None:
        return [*fields, *getattr(kind, "model_computed_fields", {})]
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing) if not field.name.startswith("_")]
    if isinstance(thing, tuple) and hasattr(kind, "_fields"):
        return list(kind._fields)
    return [name for name in vars(thing) if not name.startswith("_")]


def _short(value: object, chars: int) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if hasattr(value, "shape") and not isinstance(value, (int, str)):  # numbers of numpy are no arrays
        return f"<{type(value).__name__} {value.shape}>" if value.shape else str(value)
    if isinstance(value, (Mapping, Set)) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes))):
        text = repr(value) if len(value) <= _FEW else f"<{len(value)} of {type(value).__name__}>"
    else:
        text = repr(value)
    text = " ".join(text.split())
    return text if len(text) <= chars else f"{text[: chars - 3]}..."


def _cell(value: object) -> str:
    if isinstance(value, (list, tuple)) and value and all(hasattr(each, "_repr_html_") for each in value):
        return _table(value)
    if isinstance(value, str):
        return escape(value if len(value) <= _CELL_CHARS else f"{value[:_CELL_CHARS]}...")
    return escape(_short(value, _CELL_CHARS))


def _table(rows: Sequence[object]) -> str:
    """Records as a table: the columns are the fields of the first."""
    shown_rows = [dict(_fields_of(row)) for row in rows[:_ROWS]]
    columns = list(dict.fromkeys(name for row in shown_rows for name in row))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    cells = ("".join(f"<td>{escape(_plain(row.get(name)))}</td>" for name in columns) for row in shown_rows)
    body = "".join(f"<tr>{each}</tr>" for each in cells)
    more = len(rows) - len(shown_rows)
    foot = f'<tfoot><tr><td colspan="{max(len(columns), 1)}">and {more} more</td></tr></tfoot>' if more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _plain(value: object) -> str:
    """A cell's text: a text without its quotes, nothing for what is not there."""
    if value is None:
        return ""
    return _short(value, _VALUE_CHARS) if not isinstance(value, str) else value[:_VALUE_CHARS]
