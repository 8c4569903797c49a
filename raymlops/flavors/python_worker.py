"""The process of a Python model: it unpacks, loads the class, and answers over its pipes until they close.

Messages in: ``L`` the package, ``E`` example rows, ``C`` columns as requests hold them, ``F`` a frame as its caller has
it; tables as Arrow streams. Messages out: ``D`` what the class says of itself, ``A`` an array in NumPy's format, ``X``
an error; the first and the last as JSON. The parent reads no pickle, whatever the class gives.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import os
import select
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from raymlops.errors import DataError
from raymlops.flavors.frames import Frames, frame_of
from raymlops.flavors.guard import in_one_line
from raymlops.flavors.python_model import CODE, FILES, HEADER, SPEC

__all__ = ["main"]


def main(directory: Path) -> None:
    """Serve one model; ends when the parent closes the pipe or dies.

    Args:
        directory: Empty; the package is unpacked there.
    """
    given, taken = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the class prints is no answer
    threading.Thread(target=_end_with_parent, args=(given.fileno(), directory), daemon=True).start()
    _serve(given, taken, directory)


def _end_with_parent(handle: int, directory: Path) -> None:
    """A parent that was killed asks nothing more, whatever the class is about."""
    hung_up = select.poll()
    hung_up.register(handle, 0)  # a hang-up is told of in any case
    hung_up.poll()
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def _serve(given: IO[bytes], taken: IO[bytes], directory: Path) -> None:
    model: Any = None
    frames: Frames | None = None
    while header := given.read(HEADER.size):
        kind, length = HEADER.unpack(header)
        payload = given.read(length)
        try:
            if kind == b"L":
                model = _loaded(payload, directory)
                answer = b"D", json.dumps(_description(model)).encode()
            elif kind == b"E":
                frames = Frames(_table(payload), missing=float("nan"), extended=True)
                answer = b"A", b""
            else:
                table = _table(payload)
                if frames is not None and kind == b"C":
                    columns = {name: table[name].to_numpy() for name in table.column_names}
                    answer = b"A", _bytes(model.predict(frames.frame(columns)), table.num_rows)
                else:
                    answer = b"A", _bytes(model.predict(frame_of(table)), table.num_rows)
        except Exception as error:  # whatever the class raises is told to the parent
            told = {"kind": type(error).__name__, "text": in_one_line(error)}
            answer = b"X", json.dumps(told).encode()
        taken.write(HEADER.pack(answer[0], len(answer[1])) + answer[1])
        taken.flush()


def _loaded(content: bytes, directory: Path) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(directory)
        spec = json.loads(archive.read(SPEC))
    code = directory / CODE
    (directory / FILES).mkdir(exist_ok=True)  # of no files
    os.chdir(code)
    sys.path.insert(0, str(code))
    module, _, name = spec["entry"].partition(":")
    kind = getattr(importlib.import_module(module), name)
    path = directory / spec["files"]
    if isinstance(inspect.getattr_static(kind, "load"), classmethod | staticmethod):
        return kind.load(path)
    model = kind()
    found = model.load(path)
    return model if found is None else found


def _description(model: Any) -> dict[str, Any]:
    if not callable(getattr(model, "predict", None)):
        raise TypeError("the class must have predict(frame)")
    classes, inputs = getattr(model, "classes", None), getattr(model, "inputs", None)
    return {
        "classes": None if classes is None else np.asarray(classes, dtype=object).tolist(),
        "inputs": None if inputs is None else list(inputs),
    }


def _table(payload: bytes) -> pa.Table:
    with pa.ipc.open_stream(payload) as stream:
        return stream.read_all()


def _bytes(answer: Any, rows: int) -> bytes:
    numbers = np.asarray(answer, dtype=np.float64)
    if not numbers.ndim or len(numbers) != rows:
        raise DataError(f"predict must answer {rows} rows, got an array of the shape {numbers.shape}")
    sink = io.BytesIO()
    np.lib.format.write_array(sink, numbers, allow_pickle=False)
    return sink.getvalue()
