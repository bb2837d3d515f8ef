"""The reader of HCL and JSON texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretd.core.policy.grammar import MAX_DEPTH, MAX_TEXT, Block, Entry, read_text
from secretd.sdk.errors import InvalidRequestError, SecretdError, TooLargeError


def _only(text: str) -> Entry:
    (entry,) = read_text(text).entries
    return entry


def test_repeated_blocks_stay_apart_with_their_lines() -> None:
    """Two blocks of one label are two entries, each with the line it starts on."""
    top = read_text('# first\npath "a" { x = 1 }\n\npath "a" { x = 2 }\n')
    assert [(entry.keys, entry.line) for entry in top.entries] == [(("path", "a"), 2), (("path", "a"), 4)]


def test_json_duplicates_stay_apart() -> None:
    """A key that JSON gives twice is seen twice, so that no later one hides a deny."""
    top = read_text('{"path": {"a": {"x": 1}, "a": {"x": 2}}}')
    inner = top.entries[0].value
    assert isinstance(inner, Block)
    assert [entry.keys for entry in inner.entries] == [("a",), ("a",)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('k = "a\\"b\\\\c\\n\\u00e9"', 'a"b\\c\né'),
        ("k = 12", 12),
        ("k = -1.5e3", -1500.0),
        ("k = 0x1f", 31),
        ("k = true", True),
        ("k = []", []),
        ('k = ["a", 1, false,]', ["a", 1, False]),
        ("k = <<EOF\none\n two\nEOF\n", "one\n two\n"),
        ("k = <<-EOF\n  one\n    two\n  EOF\n", "one\n  two\n"),
        ('"k" = "v",', "v"),
        ('k = "{{identity.entity.id}}"', "{{identity.entity.id}}"),
        ('/* a */ k = "v" // b\n# c', "v"),
        ("\ufeffk = 1\r\n", 1),
        ("true = 1", 1),
    ],
)
def test_every_kind_of_value(text: str, value: object) -> None:
    """Each form of HCL's values and comments reads as what it says."""
    assert _only(text).value == value


@pytest.mark.parametrize("text", ["", "  \n", "# nothing\n", "{}"])
def test_texts_of_nothing(text: str) -> None:
    """A text without entries is an empty block."""
    assert read_text(text) == Block(())


@pytest.mark.parametrize(
    "text",
    [
        "k",
        "k =",
        "k = v",
        "k = 'v'",
        'k = "v',
        'k = "v\n"',
        "k = [1 2]",
        "k = [,]",
        "k {",
        "}",
        "/* open",
        "k = <<EOF\nnever closed\n",
        "k = 12345678901234567890",
        'k = "\\q"',
        'k = "\\ud800"',
        'k = "\\Uffffffff"',
        "[1]",
        "{",
        '{"a": NaN}',
        '{"a": 1} x',
        "\x00",
    ],
)
def test_what_is_neither(text: str) -> None:
    """Other texts are an invalid request that shows nothing of them."""
    with pytest.raises(InvalidRequestError) as caught:
        read_text(text)
    assert "never closed" not in str(caught.value)


def test_an_error_names_its_line() -> None:
    """The line of a mistake is in the message."""
    with pytest.raises(InvalidRequestError, match="line 3"):
        read_text('a = 1\nb = 2\nc = "\n')


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000 + "]" * 5000, "a {" * 5000 + "}" * 5000, '{"a":' * 5000 + "1" + "}" * 5000]
)
def test_depth_is_bounded(text: str) -> None:
    """Deep nesting is refused and does not reach the interpreter's own limit."""
    with pytest.raises(InvalidRequestError):
        read_text(text)


def test_depth_that_is_allowed() -> None:
    """The depth just below the limit is read."""
    inner = MAX_DEPTH - 2
    assert read_text("a = " + "[" * inner + "]" * inner).entries


def test_size_is_bounded() -> None:
    """A text over the limit is refused before it is read."""
    with pytest.raises(TooLargeError):
        read_text("#" * (MAX_TEXT + 1))


@given(st.text(alphabet='path{}[]="\\,#/*\n <-EOF1.u+é\x00', max_size=60))
def test_any_text_reads_or_is_refused(text: str) -> None:
    """No text raises anything but our own errors."""
    try:
        read_text(text)
    except SecretdError:
        return
