"""The differential run's own eyes: a table is read as it is meant, and a change of type is seen."""

from __future__ import annotations

import json
from pathlib import Path

from conformance.differences import LISTED, Difference
from conformance.differential import differences, load
from conformance.servers import Reply


def _reply(status: int, body: object) -> Reply:
    return Reply(status, {"content-type": "application/json"}, json.dumps(body).encode())


def test_a_line_is_a_request(tmp_path: Path) -> None:
    """Caller, headers, verb, path, body, and what is kept of the answer."""
    table = tmp_path / "table.txt"
    table.write_text('# part\n@ann X-A:b PATCH kv/x {"a": 1}\n> one = data.a\n> two = data.b\nGET\n')
    first, second = load([table])
    assert (first.section, first.who, first.method, first.path, first.body) == (
        "part",
        "ann",
        "PATCH",
        "kv/x",
        '{"a": 1}',
    )
    assert first.headers == {"X-A": "b"}
    assert first.keeps == {"one": "data.a", "two": "data.b"}
    assert (second.method, second.path) == ("GET", "")


def test_equal_answers_are_equal_whatever_their_values() -> None:
    """Identities, times and texts differ between any two servers."""
    one = {"data": {"at": "2026-01-01T00:00:00Z", "n": 5, "ids": ["a"], "kv_00000000": 1}, "request_id": "x"}
    two = {
        "data": {"at": "2027-01-01T00:00:00Z", "n": 7, "ids": ["b", "c"], "kv_11111111": 2},
        "request_id": "y",
    }
    assert differences(_reply(200, one), _reply(200, two)) == []


def test_each_kind_of_change_is_seen() -> None:
    """Status, type, null, flag, emptiness, a key too many or too few; what lies below a change is not told again."""
    cases = {
        "status 200 -> 204": (_reply(200, None), _reply(204, None)),
        "$.a number -> text": (_reply(200, {"a": 1}), _reply(200, {"a": "1"})),
        "$.a null -> object": (_reply(200, {"a": None}), _reply(200, {"a": {"b": 1}})),
        "$.a true -> false": (_reply(200, {"a": True}), _reply(200, {"a": False})),
        "$.a list -> empty list": (_reply(200, {"a": [1]}), _reply(200, {"a": []})),
        "$.a[].b number -> absent": (_reply(200, {"a": [{"b": 1}]}), _reply(200, {"a": [{"c": 1}]})),
        "no error -> one": (_reply(404, {"data": {}}), _reply(404, {"errors": []})),
    }
    for expected, (theirs, ours) in cases.items():
        found = differences(theirs, ours)
        assert expected in found
        assert len(found) <= 2


def test_a_star_covers_anything_and_brackets_nothing_more() -> None:
    """Patterns are texts: JSON's brackets and dots stand for themselves."""
    one = Difference('a: POST * {"x": [1]}', "$.*ttl * -> absent", "")
    assert one.covers('a: POST kv/x {"x": [1]}', "$.data.ttl number -> absent")
    assert not one.covers('a: POST kv/x {"x": 1}', "$.data.ttl number -> absent")
    assert not one.covers('a: POST kv/x {"x": [1]}', "$.data.ttl number -> text")


def test_every_listed_difference_has_a_reason() -> None:
    """None is ignored without a word."""
    assert all(one.reason.strip() for one in LISTED)
