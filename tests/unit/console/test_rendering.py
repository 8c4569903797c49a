from __future__ import annotations

import pytest

from raymlops.console.rendering import coded


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("wait", "wait"),
        ("run `raymlops up` or `down`", "run <code>raymlops up</code> or <code>down</code>"),
        ("`<script>` & more", "<code>&lt;script&gt;</code> &amp; more"),
        ("a lone ` <b>", "a lone ` &lt;b&gt;"),
    ],
)
def test_what_stands_between_backticks_is_code_and_everything_is_escaped(text: str, shown: str) -> None:
    assert str(coded(text)) == shown
