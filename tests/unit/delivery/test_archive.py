from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from raymlops.delivery.archive import pack, unpack
from raymlops.delivery.project import SourceFile, collect_files

_names = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join)
_sources = st.dictionaries(_names, st.builds(SourceFile, st.binary(max_size=50), st.booleans()), max_size=5)


@given(_sources)
def test_bytes_depend_on_files_alone_and_tell_them_apart(files: dict[str, SourceFile]) -> None:
    backwards = dict(reversed(files.items()))
    assert pack(backwards) == pack(files)
    for name, file in files.items():
        assert pack({**files, name: SourceFile(file.content + b"!", file.executable)}) != pack(files)
        assert pack({**files, name: SourceFile(file.content, not file.executable)}) != pack(files)
        assert pack({other: files[other] for other in files if other != name}) != pack(files)


def test_what_is_unpacked_is_collected_again(tmp_path: Path) -> None:
    files = {"a.py": SourceFile(b"1", False), "b/c/run": SourceFile(b"", True), "b/d": SourceFile(b"\x00\xff", False)}
    unpack(files, tmp_path)
    assert collect_files(tmp_path) == files
