"""A class of the user's own as a model: run from the code of a tested bundle, in a process of its own, never unpickled.

The package holds the bundle's source, the files that the class loads, and its name. Whoever loads the package starts a
process (``python_worker``) that has neither the platform's keys nor its environment, and asks it over a pipe.
"""

from __future__ import annotations

import io
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError, DataError, DeploymentError, ModelLoadFailed
from raymlops.flavors.frames import GivenRows
from raymlops.flavors.protocol import Description, inputs_of
from raymlops.scratch import Scratch

if TYPE_CHECKING:
    from raymlops.flavors.protocol import Array, Columns, Staged, Task
    from raymlops.records.learning.signatures import Signature

__all__ = ["FLAVOR", "PythonModel", "PythonModelFlavor"]

SPEC, CODE, FILES = "model.json", "code/", "files/"
HEADER = struct.Struct("<cQ")
"""Of a message between the two processes: its kind, and the length of what follows in bytes."""
_LOAD_S, _ANSWER_S = 120.0, 60.0
_MAX_BYTES = 2**31 - 1
_PIPE_BYTES = 1 << 16
"""What a pipe holds on Linux."""
_MAX_ANSWER_BYTES = 2**30
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "HOME")
"""What the process has of this one's environment: no key and no address."""
_INPUT_ERRORS = {kind.__name__: kind for kind in (ValueError, TypeError, KeyError, IndexError)}
"""What estimators raise about their input keeps its class, so that a caller's fault is told from the model's."""


@dataclass(frozen=True)
class PythonModel:
    """A class of a project, and what it loads, to be registered as a model.

    The class has ``load(path)``, which gives the model or fills ``self``, and ``predict(frame)``: from a frame of
    pandas with the example's columns and dtypes to values [N], or to probabilities [N, classes] where the class has an
    attribute ``classes``. With two classes, the probability of the second [N] will do.

    Attributes:
        entry: ``module:Class``, from the project's directory.
        files: A file or a directory: ``load`` is given a copy of it.
        bundle: Digest of the bundle with the code, as ``delivery build`` printed it.
        code: Path -> source, in place of a bundle; ``models.register`` fills it in from the bundle.
    """

    entry: str
    files: Path | str
    bundle: str = ""
    code: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class _Packed(NamedTuple):
    """The bytes of a package, and its process, which is started when it is asked first."""

    content: bytes
    worker: _Worker


class PythonModelFlavor:
    """Classes of a user's project, as ``PythonModel``."""

    name = "python"
    file = "model.zip"
    libraries: tuple[str, ...] = ()
    families: Mapping[str, Any] = MappingProxyType({})

    def owns(self, estimator: Any) -> bool:
        return isinstance(estimator, PythonModel)

    def read(self, estimator: Any) -> _Packed:
        if isinstance(estimator, _Packed):
            return estimator
        content = _pack(estimator)
        return _Packed(content, _Worker(content))

    def describe(self, estimator: Any, columns: Sequence[str]) -> Description:
        try:
            told = self.read(estimator).worker.describe()
        except ModelLoadFailed as error:
            raise DataError(f"{error}") from error
        classes = told["classes"]
        task: Task = "regressor" if classes is None else "classifier"
        return Description(task, inputs_of(told["inputs"], None, columns), tuple(classes or ()), ("pandas", "numpy"))

    def dump(self, estimator: Any) -> bytes:
        return self.read(estimator).content

    def parse(self, content: bytes) -> _Packed:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise DataError(f"it must be a zip archive: {error}") from error
        if SPEC not in names:
            raise DataError(f"it must hold {SPEC}")
        return _Packed(content, _Worker(content))

    def predictor(self, loaded: _Packed, signature: Signature, example: pa.Table) -> _Predictor:
        return _Predictor(loaded.worker, signature, example)

    def answers(self, estimator: Any, task: Task, frame: Any) -> Array:
        del task  # the class says it
        return self.read(estimator).worker.ask(b"F", GivenRows.of(frame).table)

    def inputs(self, estimator: Any, frame: Any) -> Any:
        del estimator
        return frame

    def staged(self, estimator: Any, inputs: Any, task: Task, points: Callable[[int], Sequence[int]]) -> Staged:
        del estimator, inputs, task, points
        return []

    def save_for_mlflow(self, loaded: _Packed, options: Mapping[str, Any]) -> None:
        import mlflow.pyfunc

        with Scratch("mlflow") as scratch:
            place = scratch / self.file
            place.write_bytes(loaded.content)
            mlflow.pyfunc.save_model(loader_module=__name__, data_path=str(place), **options)


FLAVOR = PythonModelFlavor()


def _load_pyfunc(path: str) -> Any:
    """What MLflow calls to load the model; it is asked in a process of its own there, too."""
    return _ForMlflow(FLAVOR.parse(Path(path).read_bytes()))


class _ForMlflow:
    def __init__(self, loaded: _Packed) -> None:
        self._loaded = loaded

    def predict(self, frame: Any) -> Array:
        return self._loaded.worker.ask(b"F", GivenRows.of(frame).table)


class _Predictor:
    """Sends columns to the process, which makes the frame."""

    dtype = np.float64
    framed = True
    takes_missing = False
    encoders: Mapping[int, Mapping[Any, float]] = MappingProxyType({})

    def __init__(self, worker: _Worker, signature: Signature, example: pa.Table) -> None:
        self._worker, self._names = worker, signature.names
        worker.expect(example)

    def score(self, columns: Columns) -> Array:
        held = {name: columns[name] for name in self._names}
        types = {name: pa.string() if values.dtype == object else None for name, values in held.items()}
        return self._worker.ask(b"C", pa.table({name: pa.array(held[name], types[name]) for name in held}))

    def importances(self) -> None:
        return None


class _Worker:
    """A model's process: started when it is asked first, and again after it died. Threads take turns."""

    def __init__(self, content: bytes) -> None:
        self._content, self._example = content, b""
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._told: dict[str, Any] = {}
        self._end: Callable[[], object] = lambda: None

    def describe(self) -> dict[str, Any]:
        """``classes`` and ``inputs`` as the class says; null where it does not.

        Raises:
            ModelLoadFailed: It cannot be loaded.
        """
        with self._turn:
            self._started()
            return self._told

    def expect(self, example: pa.Table) -> None:
        """Columns that are sent have the dtypes of these rows."""
        with self._turn:
            self._example = _ipc(example)
            if self._process is not None:
                self._stop()

    def ask(self, kind: bytes, rows: pa.Table) -> Array:
        """What the model answers to N rows.

        Raises:
            DeploymentError: The process died or did not answer in time; the next request starts it again.
            ValueError: What the class raised about its input; and its kin.
            RuntimeError: What else it raised.
        """
        with self._turn:
            process = self._started()
            answered, payload = self._exchange(process, kind, _ipc(rows), _ANSWER_S)
        if answered == b"A":
            found: Array = np.lib.format.read_array(io.BytesIO(payload), allow_pickle=False)
            return found
        error = json.loads(payload)
        raise _INPUT_ERRORS.get(error["kind"], RuntimeError)(error["text"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        scratch = Scratch("model")
        self._process = process = _spawn(scratch.path)
        self._end = weakref.finalize(self, _finish, process, scratch)
        self._told = json.loads(self._prepare(process, b"L", self._content, "the class cannot be loaded"))
        if self._example:
            self._prepare(process, b"E", self._example, "the example cannot be read")
        return process

    def _prepare(self, process: subprocess.Popen[bytes], kind: bytes, payload: bytes, problem: str) -> bytes:
        answered, told = self._exchange(process, kind, payload, _LOAD_S)
        if answered == b"X":
            self._stop()
            raise ModelLoadFailed(f"{problem}: {json.loads(told)['text']}")
        return told

    def _exchange(
        self, process: subprocess.Popen[bytes], kind: bytes, payload: bytes, timeout_s: float
    ) -> tuple[bytes, bytes]:
        deadline, (asked, answering) = time.monotonic() + timeout_s, _pipes(process)
        try:
            _send(asked, HEADER.pack(kind, len(payload)) + payload, deadline)
            answered, length = HEADER.unpack(_receive(answering, HEADER.size, deadline))
            if length > _MAX_ANSWER_BYTES:
                raise EOFError(f"it answered {length} bytes")
            return answered, _receive(answering, length, deadline)
        except (OSError, EOFError) as error:
            self._stop()
            why = f"did not answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else f"ended: {error}"
            raise DeploymentError(f"the process of the Python model {why}") from error

    def _stop(self) -> None:
        self._end()
        self._process = None


def _spawn(directory: Path) -> subprocess.Popen[bytes]:
    """An interpreter with this package and a directory, and nothing else of this process."""
    root = str(Path(__file__).parents[2])
    run = (
        f"import sys; sys.path.insert(0, {root!r}); from pathlib import Path; "
        f"from raymlops.flavors.python_worker import main; main(Path({str(directory)!r}))"
    )
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-c", run],
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    for pipe in _pipes(process):
        os.set_blocking(pipe.fileno(), False)
    return process


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("the process has no pipes")
    return process.stdin, process.stdout


def _finish(process: subprocess.Popen[bytes], scratch: Scratch) -> None:
    process.kill()
    process.wait()
    scratch.close()
    for pipe in _pipes(process):
        pipe.close()


def _send(pipe: IO[bytes], content: bytes, deadline: float) -> None:
    rest = memoryview(content)
    while rest:
        _await(pipe, select.POLLOUT, deadline)
        rest = rest[os.write(pipe.fileno(), rest[:_PIPE_BYTES]) :]  # as much as fits, which is something by now


def _receive(pipe: IO[bytes], length: int, deadline: float) -> bytes:
    parts, missing = [], length
    while missing:
        _await(pipe, select.POLLIN, deadline)
        part = os.read(pipe.fileno(), min(missing, 1 << 20))
        if not part:
            raise EOFError("it closed its pipe")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _await(pipe: IO[bytes], event: int, deadline: float) -> None:
    waiting = select.poll()
    waiting.register(pipe.fileno(), event)
    if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _pack(model: PythonModel) -> bytes:
    """A zip archive that depends on the model alone.

    Raises:
        ConfigError: The entry is malformed, or the model has no code.
        DataError: A file cannot be read, or all are too large together.
    """
    module, _, kind = model.entry.partition(":")
    if not (kind.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ConfigError(f"entry of a Python model must be module:Class, got {model.entry!r}")
    if not model.code:
        raise ConfigError("a Python model must name the bundle with its code: build it with `raymlops delivery build`")
    held = {CODE + path: content for path, content in model.code.items()}
    place = Path(model.files)
    given = FILES if place.is_dir() else FILES + place.name
    try:
        found = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in found:
            held[FILES + (path.relative_to(place).as_posix() if place.is_dir() else path.name)] = path.read_bytes()
    except OSError as error:
        raise DataError(f"files of a Python model: {error.filename} cannot be read: {error.strerror}") from error
    if (size := sum(map(len, held.values()))) > _MAX_BYTES:
        raise DataError(f"code and files of a Python model must have at most {_MAX_BYTES} bytes, got {size}")
    spec = {"entry": model.entry, "files": given, "bundle": model.bundle}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted({SPEC: json.dumps(spec, sort_keys=True).encode(), **held}.items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()
