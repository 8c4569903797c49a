"""Requests that are wrong in every way we could think of: an endpoint must answer each, and never with a 500."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import orjson

__all__ = ["MalformedRequest", "malformed_requests"]

_BINARY_HEADER = "inference-header-content-length"

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, -(2**63), 2**63, 2**64 - 1, 0.5, -0.0, 1e308, 5e-324),
    *("", "NaN", "-Infinity", "\x00", "x" * 5000, "\u202e", "\U0010ffff", "FP32", "BYTES", "features"),
    *([], {}, [[]], [None], [[[[[[[[[[1]]]]]]]]]], {"binary_data_size": -1}, {"binary_data_size": 2**62}),
    *([2**62] * 400, [0], [1, 1, 1], [-1], [1, 2**40]),
)
"""What takes the place of a part of a good request."""

_RAW: tuple[bytes, ...] = (
    *(
        b"",
        b"\x00",
        b"null",
        b"[]",
        b'""',
        b"{",
        b'{"inputs"',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"\xf0\x9f\x92",
    ),
    *(b"[" * 100_000, b'{"a":' * 50_000, b'{"inputs":' + b"[" * 1000 + b"]" * 1000 + b"}", b"[NaN" + b"," * 1000),
    *(b'{"id":' + b"9" * 5000 + b"}", b'{"id":-' + b"9" * 400 + b"e9999999}", b'{"NaN":' + b"1" * 5000 + b"}"),
    *(b'{"a":"\\ud800"}', b'{"NaN":"\\udfff"}', b'{"inputs":[{}],"inputs":[]}', b'{"__proto__":{"id":1}}'),
)
"""Whole bodies."""

_TOKENS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 300,
    b'"\\ud800"',
    b"[" * 300,
    b"{}",
    b",,",
    b"\x00",
    b"\xff",
    b"null",
)


class MalformedRequest(NamedTuple):
    """A body for a model's ``/infer``, ``/predict`` or ``/labels``, and the headers it goes with.

    Some are good by chance: what a mutation leaves alone, or turns into something else that is allowed.
    """

    action: str
    body: bytes
    headers: Mapping[str, str]


def malformed_requests(good: Mapping[str, Mapping[str, Any]], count: int, seed: int) -> Iterator[MalformedRequest]:
    """Mutations of good requests, lying binary ones, and bytes that are no request at all.

    Args:
        good: Action -> a body that is answered 200; that of ``/infer`` holds tensors of FP64 with flat data.
        count: How many.
        seed: The same seed gives the same requests.
    """
    rng = random.Random(seed)
    actions = sorted(good)
    kinds: tuple[Callable[[random.Random, Mapping[str, Any]], bytes], ...] = (_replaced, _pruned, _garbled, _spliced)
    for _ in range(count):
        action = rng.choice(actions)
        draw = rng.random()
        if draw < 0.05:
            yield MalformedRequest(action, rng.choice(_RAW), {})
        elif draw < 0.1:
            yield MalformedRequest(action, rng.randbytes(rng.randrange(200)), _any_headers(rng))
        elif draw < 0.4 and "/infer" in good:
            yield _lying(rng, good["/infer"])
        else:
            yield MalformedRequest(action, rng.choice(kinds)(rng, good[action]), {})


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of every part of a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _parent(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def _copy(document: Mapping[str, Any]) -> Any:
    return orjson.loads(orjson.dumps(document))


def _odd(rng: random.Random) -> Any:
    return deepcopy(rng.choice(_ODD))  # what is put into a document may be changed there


def _replaced(rng: random.Random, good: Mapping[str, Any]) -> bytes:
    """One to three parts are something else."""
    document = _copy(good)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(list(_places(document)))
        if not path:
            continue
        _parent(document, path)[path[-1]] = _odd(rng)
    return orjson.dumps(document)


def _pruned(rng: random.Random, good: Mapping[str, Any]) -> bytes:
    """A part is missing, or is there under another name too."""
    document = _copy(good)
    path = rng.choice([path for path in _places(document) if path])
    parent = _parent(document, path)
    if isinstance(parent, dict) and rng.random() < 0.5:
        parent[rng.choice(("", "name", "data", "shape", "parameters", "unknown"))] = parent[path[-1]]
    else:
        del parent[path[-1]]
    return orjson.dumps(document)


def _garbled(rng: random.Random, good: Mapping[str, Any]) -> bytes:
    """Bytes are changed, cut off or doubled."""
    body = bytearray(orjson.dumps(good))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        choice = rng.randrange(3)
        if choice == 0:
            body[at] = rng.randrange(256)
        elif choice == 1:
            del body[at : at + rng.randint(1, 20)]
        else:
            body[at:at] = body[at : at + rng.randint(1, 20)]
        if not body:
            break
    return bytes(body[: rng.randrange(len(body) + 1)] if body and rng.random() < 0.2 else body)


def _spliced(rng: random.Random, good: Mapping[str, Any]) -> bytes:
    """A token that JSON does not know, or barely, stands somewhere."""
    body = orjson.dumps(good)
    at = rng.randrange(len(body) + 1)
    return body[:at] + rng.choice(_TOKENS) + body[at:]


def _any_headers(rng: random.Random) -> dict[str, str]:
    values = ("0", "-1", "1", "2", "50", "99999999999999999999", "1e3", " 7", "٣", "")
    return {_BINARY_HEADER: rng.choice(values)} if rng.random() < 0.5 else {}


def _lying(rng: random.Random, good: Mapping[str, Any]) -> MalformedRequest:
    """A binary request whose sizes, shapes, lengths and bytes do not belong together."""
    document, parts = _copy(good), []
    for tensor in document["inputs"]:
        raw = rng.randbytes(8 * len(tensor.pop("data")))
        if rng.random() < 0.3:
            tensor["datatype"] = rng.choice(("BYTES", "BOOL", "FP16", "INT8", "UINT64", "FP64", "COMPLEX"))
        if tensor["datatype"] == "BYTES":
            raw = rng.choice((0, 3, 2**31, 2**32 - 1)).to_bytes(4, "little") + rng.randbytes(rng.randrange(9))
        if rng.random() < 0.3:
            tensor["shape"] = rng.choice(([], [0], [1], [2**40, 2**40], [1] * 9, [len(raw)]))
        size = len(raw) + rng.choice((0, 0, 0, 1, -1, 2**31, -(2**31)))
        tensor["parameters"] = {"binary_data_size": size if rng.random() < 0.9 else _odd(rng)}
        parts.append(raw)
    text = orjson.dumps(document)
    body = text + b"".join(parts)
    cut = rng.choice((0, 0, 0, 1, 8, len(body)))
    length = len(text) + rng.choice((0, 0, 0, 0, 1, -1, len(body), -len(text)))
    return MalformedRequest("/infer", body[: len(body) - cut], {_BINARY_HEADER: str(length)})
