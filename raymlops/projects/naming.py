"""Names for what is generated: from names of columns and files, by the platform's rules."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
import unicodedata

from raymlops.records.names import check_name

__all__ = ["Names", "project_name", "slug"]

_LONGEST = 40


def slug(text: str) -> str:
    """Lower-case letters, digits and single underscores, a letter first: part of a definition's name."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_").lower()[:_LONGEST].rstrip("_")
    return plain if plain[:1].isalpha() else f"c_{plain}".rstrip("_")


def project_name(text: str) -> str:
    """The name of a project and its model.

    Raises:
        ConfigError: It is one of the platform's own.
    """
    name = slug(text).replace("_", "-")
    check_name("project", name)
    check_name("model", name)
    return name


class Names:
    """Names of one project's definitions, each once.

    Args:
        project: Its name.
    """

    def __init__(self, project: str) -> None:
        self.package = _package(slug(project))
        self._taken = {"events", "outcomes", "row", "calendar"}

    def new(self, wanted: str) -> str:
        """``wanted`` after the project's name; with a number after it, where that is taken."""
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return f"{slug(self.package)}_{name}"


def _package(name: str) -> str:
    """A name that no module has that can be imported here."""
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        return f"{name}_project"
    return name
