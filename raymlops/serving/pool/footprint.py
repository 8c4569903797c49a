"""What loaded models take in memory: measured where nothing else runs, else by the size of their files."""

from __future__ import annotations

__all__ = ["Footprints"]


class Footprints:
    """Tells what a model takes from its files and from what the process grew by.

    A process grows by all that runs in it. So only a load beside which nothing else ran is a measurement. Every other
    load is taken for as many bytes in memory per byte of files as the model took when it was measured last, or else as
    all measured models took together. Before the first measurement it is taken for the size of its files.
    """

    def __init__(self) -> None:
        self._of_model: dict[str, float] = {}
        self._files_bytes = 0
        self._taken_bytes = 0

    def taken_bytes(self, model: str, files_bytes: int, grown_bytes: int | None, most_bytes: int) -> int:
        """Memory that versions take which were just loaded.

        Args:
            model: Whose.
            files_bytes: Size of their files.
            grown_bytes: What the process grew by; ``None`` where that says nothing of these versions.
            most_bytes: What the model may take. Nobody leaves the pool for what other models took: where these alone
                speak for more, it is so much, or the size of the files.
        """
        if grown_bytes is None and model in self._of_model:
            return round(files_bytes * self._of_model[model])
        if grown_bytes is None:
            return max(min(round(files_bytes * self._of_all), most_bytes), files_bytes)
        taken_bytes = max(grown_bytes, files_bytes)
        if files_bytes:
            self._of_model[model] = taken_bytes / files_bytes
            self._files_bytes += files_bytes
            self._taken_bytes += taken_bytes
        return taken_bytes

    def forget(self, model: str) -> None:
        """Forget what a model took."""
        self._of_model.pop(model, None)

    @property
    def _of_all(self) -> float:
        return self._taken_bytes / self._files_bytes if self._files_bytes else 1.0
