"""One state of a Redis online store."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from raymlops.errors import StorageError
from raymlops.features.online.redis_layout import HEAD

if TYPE_CHECKING:
    from raymlops.features.online.redis import RedisOnlineStore

__all__ = ["RedisSnapshot"]


class RedisSnapshot:
    """One connection, from opening to closing.

    The question for the number of the last commit is sent at the opening and its answer read together with the first
    runs, so that reading V views takes V round trips. Every run carries the number of its commit: for one that is newer
    than the snapshot, the one it replaced is looked up.

    Args:
        store: The store.
    """

    __slots__ = ("_connection", "_number", "_open_questions", "_store")

    def __init__(self, store: RedisOnlineStore) -> None:
        self._store = store
        self._number: int | None = None
        self._open_questions = 0

    def __enter__(self) -> RedisSnapshot:
        with self._store.named("read"):
            self._connection = self._store.connection()
            try:
                self._ask("GET", self._store.keys.commit)
            except BaseException:
                self._store.release(self._connection)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An answer that is left unread would be taken for the next command's.
        if self._open_questions:
            self._connection.disconnect()
        self._store.release(self._connection)

    def get_many(self, addresses: Sequence[bytes]) -> list[memoryview | None]:
        if not addresses:
            return []
        with self._store.named("read"):
            values = self._read(addresses)
        return [None if value is None else memoryview(value)[HEAD.size :] for value in values]

    def _ask(self, *command: bytes | str | int) -> None:
        self._open_questions += 1
        self._connection.send_command(*command)

    def _answer(self) -> Any:
        answer = self._connection.read_response()
        self._open_questions -= 1
        return answer

    def _read(self, addresses: Sequence[bytes]) -> Sequence[bytes | None]:
        store = self._store
        self._ask("MGET", store.keys.commit, *[store.keys.run + found for found in addresses])
        numbers = [store.number_of(self._answer())] if self._number is None else [self._number]
        present, *values = self._answer()
        if self._number is None:
            # No run was handed out yet, so the snapshot may begin anew at a later state.
            numbers.append(store.number_of(present))
        for number in numbers:
            found = self._as_of(number, addresses, values)
            if found is not None:
                self._number = number
                return found
        raise StorageError(f"{store}: the snapshot is too old: read again", server=store.address)

    def _as_of(
        self, number: int, addresses: Sequence[bytes], values: Sequence[bytes | None]
    ) -> Sequence[bytes | None] | None:
        """The runs as of a commit; ``None`` where one that was replaced since is not kept any more."""
        heads = [(0, 0) if value is None else HEAD.unpack_from(value) for value in values]
        newer = [place for place, (commit, _) in enumerate(heads) if commit > number]
        if not newer:
            return values
        asked = [place for place in newer if heads[place][1]]
        for place in asked:
            self._ask("LRANGE", self._store.keys.replaced + addresses[place], 0, -1)
        kept = {place: self._answer() for place in asked}
        found = list(values)
        for place in newer:
            versions = kept.get(place, [])
            found[place] = next((one for one in versions if HEAD.unpack_from(one)[0] <= number), None)
            oldest = HEAD.unpack_from(versions[-1]) if versions else heads[place]
            if found[place] is None and oldest[1]:
                return None  # it replaced one that is gone by now
        return found
