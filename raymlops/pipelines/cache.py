"""Which executions are done, and with what outputs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from raymlops.errors import StorageError
from raymlops.pipelines.artifacts import ArtifactRef, ArtifactStore
from raymlops.records.record import Record

__all__ = ["ExecutionCache", "Hit"]


class Hit(Record):
    """The outputs of a done execution."""

    outputs: dict[str, ArtifactRef]
    halted: bool = False


class ExecutionCache:
    """Execution keys and outputs, a file per key. Any number of processes may read and write.

    Args:
        root: Made where it is not there.
        artifacts: Where the outputs are.
    """

    def __init__(self, root: Path, artifacts: ArtifactStore) -> None:
        self._root = root
        self._artifacts = artifacts
        self._root.mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> tuple[Hit | None, str]:
        """Look an execution up, and prove that its outputs are still what they were.

        Returns:
            The outputs, or ``None``; and why.
        """
        path = self._root / f"{key}.json"
        try:
            hit = Hit.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None, "code, parameters or inputs are new"
        except ValidationError:
            return None, f"{path} is not readable"
        except OSError as error:
            raise StorageError(f"execution {path}: {error}", path=str(path)) from error
        broken = sorted(name for name, artifact in hit.outputs.items() if not self._artifacts.verify(artifact))
        if broken:
            return None, f"outputs {broken} are missing or altered"
        return hit, "same code, parameters and inputs"

    def put(self, key: str, outputs: Mapping[str, ArtifactRef], *, halted: bool) -> None:
        """Remember an execution; it is on disk when this returns."""
        path = self._root / f"{key}.json"
        aside = self._root / f"{key}.{uuid.uuid4().hex}.tmp"
        try:
            with aside.open("wb") as file:
                file.write(Hit(outputs=dict(outputs), halted=halted).model_dump_json().encode())
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise StorageError(f"execution {path}: {error}", path=str(path)) from error
