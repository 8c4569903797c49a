"""A helper process of an event loop, for work that would hold the interpreter's lock for long.

A thread does not help: a JSON parser holds the lock until it has read all, and 16 MB of nested lists take it a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, TypeVar

from raymlops.errors import DataError, RaymlopsError, UnavailableError

__all__ = ["Aside", "main"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_LENGTH = struct.Struct("<Q")


class Aside:
    """Calls functions in a process of its own, one at a time, in the order they came. Belongs to one event loop.

    The process starts at the first call, and ends with this one, however this one ends. A call whose caller has gone is
    not begun, or ends with its process; the next call starts another.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._running: object = None
        self._ending: Callable[[], object] = lambda: None

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call the function in the process and return its result.

        Args:
            function: Of a module, or a method of a value that can be pickled.
            arguments: Values that can be pickled; bytes arrive as a ``memoryview``.

        Raises:
            RaymlopsError: What the function raised, if it is one of ours.
            UnavailableError: The process ended.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "aside")
        token = object()
        # not copied: that would hold the lock, too
        given = [pickle.PickleBuffer(each) if type(each) is bytes else each for each in arguments]
        call = self._thread.submit(self._call, token, (function, given))
        try:
            found: T = await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            self._end(token)
            raise
        return found

    def close(self) -> None:
        """End the process, and whatever it does."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._process is not None and self._running is not None:
                self._process.kill()  # and the thread that waits for it does the rest
            elif self._process is not None:
                self._ending()
                self._process = None

    def _end(self, token: object) -> None:
        """End the process if it works for this call; the thread that waits for it finds out."""
        with self._lock:
            if self._running is token and self._process is not None:
                self._process.kill()

    def _call(self, token: object, work: object) -> Any:
        message = _packed(work)
        with self._lock:
            self._running = token
            if self._process is None:
                self._process = _start()
                self._ending = weakref.finalize(self, _end, self._process)
            process = self._process
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            _write(process.stdin, message)
            done, found = _read(process.stdout)
        except (OSError, EOFError) as error:
            with self._lock:
                self._ending()
                self._process = None
            raise UnavailableError("the process that reads large bodies ended: try again") from error
        finally:
            with self._lock:
                self._running = None
        if not done:
            raise found
        return found


def _start() -> subprocess.Popen[bytes]:
    # what this process can import, that one can; and nothing from wherever it happens to be
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-c", "from raymlops.serving.protocol.aside import main; main()"]
    return subprocess.Popen(  # noqa: S603 - nothing of a request is in it
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _packed(value: object) -> list[pickle.PickleBuffer | bytes]:
    """A value in parts: what is large and in one piece, such as a body or an array, is not copied."""
    parts: list[pickle.PickleBuffer | bytes] = []
    return [pickle.dumps(value, protocol=5, buffer_callback=parts.append), *parts]


def _write(stream: IO[bytes], parts: Sequence[pickle.PickleBuffer | bytes]) -> None:
    views = [part.raw() if isinstance(part, pickle.PickleBuffer) else memoryview(part) for part in parts]
    lengths = b"".join(_LENGTH.pack(length) for length in (len(views), *(view.nbytes for view in views)))
    for view in (memoryview(lengths), *views):
        while view:
            view = view[stream.write(view) :]  # noqa: PLW2901 - what is left of it


def _read(stream: IO[bytes]) -> Any:
    (count,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    lengths = [length for (length,) in _LENGTH.iter_unpack(_exactly(stream, count * _LENGTH.size))]
    pickled, *buffers = [_exactly(stream, length) for length in lengths]
    return pickle.loads(pickled, buffers=buffers)  # noqa: S301 - this project's other process wrote it


def _exactly(stream: IO[bytes], length: int) -> bytearray:
    found = bytearray(length)
    view = memoryview(found)
    while view:
        count: int = stream.readinto(view)  # type: ignore[attr-defined]  # of a pipe, which typing.IO leaves out
        if not count:
            raise EOFError
        view = view[count:]
    return found


def main() -> None:
    """Answer calls on the standard streams until the first of them ends."""
    asked, answered = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not talk into the answers
    while True:
        try:
            function, arguments = _read(asked)
        except EOFError:
            return
        try:
            reply = (True, function(*arguments))
        except RaymlopsError as error:
            reply = (False, error)
        except MemoryError:
            reply = (False, DataError("the body must be read in the memory there is, and cannot"))
        except Exception as error:  # whatever it is: the process that asked is told, and goes on asking
            _log.exception("a call of %s failed", function)
            reply = (False, RuntimeError(f"{type(error).__name__}: {error}"))
        _write(answered, _packed(reply))
