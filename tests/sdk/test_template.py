"""The part of Go's template language that usernames use."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from secretd.sdk.template import MAX_TEMPLATE, compile_template
from secretd.sdk.template_functions import MAX_VALUE, Scope

_NOW = datetime(2026, 11, 23, 9, 5, 7, tzinfo=UTC)
_SCOPE = Scope({"DisplayName": "Token-Ada.L", "RoleName": "app"}, _NOW)


def _render(text: str) -> str:
    return compile_template(text)(_SCOPE).text


def _bits(text: str) -> float:
    return sum(compile_template(text)(_SCOPE).bits)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.DisplayName}}", "Token-Ada.L"),
        ("a {{ .RoleName }} b", "a app b"),
        ("a {{- .RoleName -}} b", "aappb"),
        ("{{ .DisplayName | truncate 5 }}", "Token"),
        ("{{ truncate 5 .DisplayName }}", "Token"),
        ("{{ truncate 5 (.DisplayName | uppercase) | lowercase }}", "token"),
        ('{{ .DisplayName | replace "." "_" }}', "Token-Ada_L"),
        ("{{ .DisplayName | replace `-` `` }}", "TokenAda.L"),
        ('{{ printf "v-%s-%v" .RoleName 12 }}', "v-app-12"),
        (
            '{{ printf "%-5s|%5s|%.2s|%05d|%x|%X|%%" "a" "b" "cde" 42 255 "z" }}',
            "a    |    b|cd|00042|ff|7A|%",
        ),
        ("{{ unix_time }}", "1795424707"),
        ("{{ unix_time_millis }}", "1795424707000"),
        ('{{ timestamp "2006-01-02T15:04:05Z" }}', "2026-11-23T09:05:07Z"),
        ('{{ timestamp "Jan 06, 03PM" }}', "Nov 26, 09AM"),
        ('{{ "abc" | sha256 | truncate 8 }}', "ba7816bf"),
        ('{{ base64 "abc" }}', "YWJj"),
        ('{{ "0123456789abc" | truncate_sha256 13 }}', "0123456789abc"),
        ('{{ "0123456789abcd" | truncate_sha256 13 }}', "01234669aca61"),
        ('{{ "a\\"b\\u00e9" }}', 'a"bé'),
    ],
)
def test_what_templates_give(text: str, result: str) -> None:
    """Text, fields, pipes, parentheses and each function do what Vault's do."""
    assert _render(text) == result


@pytest.mark.parametrize(("text", "length"), [("{{random 20}}", 20), ("{{ uuid }}", 36)])
def test_random_parts(text: str, length: int) -> None:
    """Random parts have their length and never repeat."""
    assert len(_render(text)) == length
    assert _render(text) != _render(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ s3cret }}",
        "{{ .S3cret }}",
        "{{ .DisplayName.S3cret }}",
        "{{ .DisplayName | s3cret 3 }}",
        "{{ truncate }}",
        "{{ truncate .DisplayName }}",
        "{{ truncate .RoleName .DisplayName }}",
        "{{ truncate 0 .DisplayName }}",
        "{{ random 2000 }}",
        "{{ random 20",
        "random 20 }}",
        "{{ }}",
        "{{ | truncate 3 }}",
        "{{ .RoleName | }}",
        "{{ .RoleName | .DisplayName }}",
        "{{ (.RoleName }}",
        "{{ .RoleName) }}",
        "{{ .RoleName .DisplayName }}",
        '{{ printf "%s" }}',
        '{{ printf "x" .RoleName }}',
        '{{ printf "%q" .RoleName }}',
        '{{ printf "%d" .RoleName }}',
        "{{ printf .DisplayName }}",
        "{{ printf }}",
        "{{ if .RoleName }}x{{ end }}",
        "{{ $x := 1 }}",
        '{{ "\\xzz" }}',
        "{{ truncate_sha256 8 .RoleName }}",
        "{{ __class__ }}",
        "{{" + "(" * 30 + ".RoleName" + ")" * 30 + "}}",
        "{{ .RoleName" + "|sha256" * 120 + "}}",
        "x" * (MAX_TEMPLATE + 1),
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    """Unknown words, wrong arguments and excess are a ValueError that does not show the text."""
    with pytest.raises(ValueError, match="template") as caught:
        _render(text)
    assert "s3cret" not in str(caught.value).lower()


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("{{.DisplayName}}-{{unix_time}}", 0, 0),
        ("{{random 20}}", 119, 119.1),
        ("{{random 20 | truncate 10}}", 59, 60),
        ("{{uuid}}", 118, 122),
        ("{{random 20 | lowercase}}", 98, 20 * 4.96),
        ("{{random 20 | sha256 | truncate 20}}", 80, 80),
        ("{{random 2 | sha256}}", 11, 12),
        ('{{random 20 | replace "-" "_"}}', 119, 119.1),
        ('{{random 20 | replace "a" "b"}}', 0, 0),
        ('{{uuid | replace "-" ""}}', 118, 122),
        ("{{random 20 | base64}}", 0, 0),
        ('{{printf "%s-%s" .DisplayName (random 20)}}', 119, 119.1),
        ('{{printf "%.4s" (random 20)}}', 23, 24),
        ("{{random 30 | truncate_sha256 20}}", 12 * 5.95 + 31, 12 * 5.96 + 32),
    ],
)
def test_the_account_of_random_bits(text: str, least: float, most: float) -> None:
    """What is left after each function is counted, never above what can be there."""
    assert least <= _bits(text) <= most


def test_values_stay_small() -> None:
    """Nested replaces cannot make a value explode."""
    grow = '| replace "a" "' + "a" * 60 + '" '
    assert len(_render('{{ "a" ' + grow * 10 + "}}")) <= MAX_VALUE
