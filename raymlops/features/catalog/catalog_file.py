"""The definitions that are applied, in one file that is replaced as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from raymlops.errors import ConfigError, StorageError
from raymlops.features.catalog.applied import CatalogState, Definition
from raymlops.features.catalog.draft import Draft, NewestOf
from raymlops.features.catalog.withdrawal import without
from raymlops.records.features import ApplyReport
from raymlops.tables.files import Root, failure, open_files, parse_root

__all__ = ["Catalog"]

_NOTHING = CatalogState(entities={}, views={}, services={}, on_demand={})


class Catalog:
    """The definitions of one feature store. One process applies, any process reads; thread-safe.

    Args:
        path: The file, or its URI; it need not exist.
        storage_options: Options of the object store.
    """

    def __init__(self, path: Root, storage_options: Mapping[str, str] | None = None) -> None:
        self._path = path = parse_root(path)
        parent, name = (path.parent, path.name) if isinstance(path, Path) else path.rsplit("/", 1)
        self._files, self._name = open_files(parent, storage_options), name
        self._lock = threading.Lock()
        self._seen: object = None
        self._state = _NOTHING

    def state(self) -> CatalogState:
        """The applied definitions now; the same object as long as the file does not change.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            # An object store has no cheap mark of a change: to read the object costs as much as to ask for one.
            seen: object = self._identity() if isinstance(self._path, Path) else self._files.read(self._name)
            with self._lock:
                if seen != self._seen:
                    data = seen if isinstance(seen, bytes) else self._files.read(self._name)
                    self._state = CatalogState.model_validate_json(data)
                    self._seen = seen
                return self._state
        except FileNotFoundError:
            return _NOTHING
        except (OSError, ValidationError, ConfigError) as error:
            raise StorageError(f"catalog {self._path}: cannot read: {failure(error)}", path=str(self._path)) from error

    def _identity(self) -> tuple[int, int, int]:
        found = Path(self._path).stat()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def apply(
        self,
        definitions: Sequence[Definition],
        *,
        dry_run: bool = False,
        newest_of: NewestOf | None = None,
    ) -> ApplyReport:
        """Add definitions, all or none. One that is applied already, with the same meaning, keeps its versions.

        Args:
            definitions: In any order.
            dry_run: Write nothing; what would be refused is in the report instead of raised.
            newest_of: Tells the newest version of a table and its Arrow schema; ``None`` where there is no table.

        Raises:
            AlreadyRegistered: a definition differs from the one of its name and version.
            FeatureViewNotFound: none does, but one refers to what is not applied.
            ConfigError: neither, but a definition does not fit what it refers to, or an on-demand function does not do
                what it must. One error tells every fault of every definition; ``context["faults"]`` lists them.
            StorageError: nothing was written.
        """
        state = self.state()
        draft = Draft(state, definitions, newest_of)
        if not dry_run:
            draft.faults.raise_if_any()
            after = draft.state()
            if after.model_dump_json() != state.model_dump_json():
                self._write(after)
        return draft.report(dry_run=dry_run)

    def withdraw(self, labels: Collection[str], holds_rows: Callable[[str], bool]) -> None:
        """Take definitions back that nothing that stays needs; see ``without``.

        Raises:
            StorageError: nothing was written.
        """
        state = self.state()
        left = without(state, labels, holds_rows)
        if left != state:
            self._write(left)

    def _write(self, state: CatalogState) -> None:
        try:
            self._files.write(self._name, state.model_dump_json(indent=1).encode())
        except OSError as error:
            raise StorageError(f"catalog {self._path}: cannot write: {failure(error)}", path=str(self._path)) from error
