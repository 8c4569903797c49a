from __future__ import annotations

from pathlib import Path

import pytest

from raymlops.errors import ConfigError
from raymlops.tables.files import child, failure, open_files, parse_root, storage_options_for


def test_roots() -> None:
    assert parse_root(Path("/a")) == parse_root("/a") == parse_root("file:///a") == Path("/a")
    assert parse_root("file:///a%20b") == Path("/a b")
    assert parse_root("s3://bucket/a/") == "s3://bucket/a"
    assert child(Path("/a"), "b") == Path("/a/b")
    assert child("s3://bucket/a", "b", "c") == "s3://bucket/a/b/c"


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("file://host/a", "root must be file:///PATH"),
        ("file:a://", "root must name a bucket|root must be"),
        ("s3:///a", "root must name a bucket"),
        ("s3://key:secret@bucket/a", "root must not carry credentials"),
        ("s3://bucket/a?token=secret", "root must not carry credentials"),
    ],
)
def test_roots_that_are_none(root: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_root(root)
    assert "secret" not in str(caught.value)


def test_options_are_for_object_stores_and_bound_how_long_these_may_be_silent() -> None:
    assert storage_options_for(Path("/a"), {"AWS_REGION": "x"}) is None
    found = storage_options_for("s3://bucket", {"AWS_REGION": "x", "timeout": "1s"})
    assert found is not None
    assert (found["AWS_REGION"], found["timeout"]) == ("x", "1s")
    assert {"connect_timeout", "max_retries", "retry_timeout"} <= found.keys()


def test_files_of_a_directory(tmp_path: Path) -> None:
    files = open_files(tmp_path / "not there")
    assert files.list() == files.list("a") == []
    for path, data in (("a/2", b"two"), ("a/1", b"one"), ("top", b"t"), ("a/1", b"again"), ("a/b/c", b"")):
        files.write(path, data)
    assert files.list("a") == ["a/1", "a/2"]
    assert files.list() == ["top"]
    assert (files.read("a/1"), files.size_bytes("a/1")) == (b"again", 5)
    assert files.uri("a/1") == str(tmp_path / "not there" / "a" / "1")
    for ask in (files.read, files.size_bytes):
        with pytest.raises(FileNotFoundError):
            ask("b")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_files(tmp_path)
    files.write("a", b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write("a", b"new")
    assert files.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_backend_says_is_one_line() -> None:
    assert failure(OSError("Generic S3 error\n   \x1b[31m↳\x1b[0m gone\n")) == "Generic S3 error gone"
