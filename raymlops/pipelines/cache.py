"""Which executions are done, and with what outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from raymlops.errors import StorageError
from raymlops.pipelines.artifacts import ArtifactRef, ArtifactStore
from raymlops.pipelines.fingerprint import KeyParts
from raymlops.records.record import Record, sha256_of
from raymlops.scratch import write_whole

__all__ = ["ExecutionCache", "Hit"]


class Hit(Record):
    """The outputs of a done execution."""

    outputs: dict[str, ArtifactRef]
    halted: bool = False


class ExecutionCache:
    """Execution keys and outputs, a file per key. Any number of processes may read and write.

    Args:
        root: Made where it is not there.
        artifacts: The store of the outputs.
    """

    def __init__(self, root: Path, artifacts: ArtifactStore) -> None:
        self._root = root
        self._last = root / "last"
        self._artifacts = artifacts
        self._last.mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> tuple[Hit | None, str]:
        """Look an execution up, and prove that its outputs are still what they were.

        What is found is marked as used, so that garbage collection leaves it alone for a while.

        Returns:
            The outputs, or ``None``; and why.
        """
        path = self._root / f"{key}.json"
        try:
            os.utime(path)
            hit = Hit.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None, "it is new"
        except ValidationError:
            return None, f"{path} is not readable"
        except OSError as error:
            raise StorageError(f"execution {path}: {error}", path=str(path)) from error
        broken = sorted(name for name, artifact in hit.outputs.items() if not self._artifacts.claim(artifact))
        if broken:
            return None, f"outputs {broken} are missing or altered"
        return hit, "same code, environment, parameters, inputs and data"

    def put(self, key: str, outputs: Mapping[str, ArtifactRef], *, halted: bool) -> None:
        """Remember an execution; it is on disk when this returns."""
        self._write(self._root / f"{key}.json", Hit(outputs=dict(outputs), halted=halted))

    def remember(self, pipeline: str, parts: KeyParts) -> None:
        """Remember what the last execution of a step depended on, for ``explain``; a crash may forget it."""
        self._write(self._path_of_last(pipeline, parts.step), parts, durable=False)

    def explain(self, pipeline: str, parts: KeyParts) -> str:
        """Why an execution is new: what it depends on that is other than at the step's last execution."""
        path = self._path_of_last(pipeline, parts.step)
        try:
            last = KeyParts.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return "nothing in the cache: no execution of this step is remembered"
        except OSError as error:
            raise StorageError(f"execution {path}: {error}", path=str(path)) from error
        return parts.difference(last)

    def _path_of_last(self, pipeline: str, step: str) -> Path:
        return self._last / f"{sha256_of([pipeline, step])}.json"

    def _write(self, path: Path, record: Record, *, durable: bool = True) -> None:
        try:
            write_whole(path, record.model_dump_json().encode(), durable=durable)
        except OSError as error:
            raise StorageError(f"execution {path}: {error}", path=str(path)) from error
