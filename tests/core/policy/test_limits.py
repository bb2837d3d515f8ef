"""Parameter rules and wrapping TTLs."""

from __future__ import annotations

from typing import Any

import pytest

from secretd.core.policy.acl import Acl, compile_acl
from secretd.core.policy.model import Capability
from secretd.core.policy.parse import parse_policy
from secretd.sdk.errors import PermissionDeniedError


def _acl(*bodies: str) -> Acl:
    texts = [f'path "a" {{ capabilities = ["update", "list"] {body} }}' for body in bodies]
    return compile_acl(parse_policy(f"p{index}", text) for index, text in enumerate(texts))


def _may(acl: Acl, data: dict[str, Any] | None, wrap_ttl: int | None = None) -> bool:
    try:
        acl.require(Capability.UPDATE, "a", data, wrap_ttl=wrap_ttl)
    except PermissionDeniedError:
        return False
    return True


@pytest.mark.parametrize(
    ("body", "data", "granted"),
    [
        ("allowed_parameters = { x = [] }", {"x": "any"}, True),
        ("allowed_parameters = { x = [] }", {"y": 1}, False),
        ("allowed_parameters = { x = [] }", {"x": 1, "y": 1}, False),
        ("allowed_parameters = { x = [] }", {}, True),
        ("allowed_parameters = { x = [] }", None, True),
        ("allowed_parameters = { X = [] }", {"x": 1}, True),
        ('allowed_parameters = { x = ["one", "t*", "*e", "*i*"] }', {"x": "two"}, True),
        ('allowed_parameters = { x = ["one", "t*", "*e", "*i*"] }', {"x": "bike"}, True),
        ('allowed_parameters = { x = ["one", "t*", "*e", "*i*"] }', {"x": "bus"}, False),
        ('allowed_parameters = { x = ["a*c"] }', {"x": "abc"}, False),
        ('allowed_parameters = { x = ["*"] }', {"x": "abc"}, False),
        ("allowed_parameters = { x = [1] }", {"x": 1}, True),
        ("allowed_parameters = { x = [1] }", {"x": True}, False),
        ("allowed_parameters = { x = [1] }", {"x": "1"}, False),
        ("allowed_parameters = { x = [true] }", {"x": 1}, False),
        ('allowed_parameters = { x = [["a", "b"]] }', {"x": ["a", "b"]}, True),
        ('allowed_parameters = { x = ["a"] "*" = [] }', {"y": 1, "x": "a"}, True),
        ('allowed_parameters = { x = ["a"] "*" = [] }', {"x": "b"}, False),
        ("denied_parameters = { x = [] }", {"x": None}, False),
        ("denied_parameters = { x = [] }", {"X": None}, False),
        ("denied_parameters = { x = [] }", {"y": 1}, True),
        ('denied_parameters = { x = ["root"] }', {"x": "root"}, False),
        ('denied_parameters = { x = ["root"] }', {"x": ["app", "Root"]}, False),
        ('denied_parameters = { x = ["root"] }', {"x": "app, root"}, False),
        ('denied_parameters = { x = ["1"] }', {"x": 1}, False),
        ('denied_parameters = { x = ["root"] }', {"x": ["app"]}, True),
        ('denied_parameters = { "*" = [] }', {"x": 1}, False),
        ('denied_parameters = { "*" = [] }', {}, True),
        ('denied_parameters = { x = ["b"] } allowed_parameters = { x = [] }', {"x": "b"}, False),
        ('required_parameters = ["X"]', {"x": 0}, True),
        ('required_parameters = ["x"]', {"y": 0}, False),
        ('required_parameters = ["x"]', None, False),
    ],
)
def test_parameters(body: str, data: dict[str, Any] | None, granted: bool) -> None:
    """Denied before allowed, required always, names without case, values by kind."""
    assert _may(_acl(body), data) is granted


def test_a_listing_has_no_parameters() -> None:
    """Parameter rules do not stand in the way of a LIST."""
    _acl('required_parameters = ["x"]').require(Capability.LIST, "a")


@pytest.mark.parametrize(
    ("body", "wrap_ttl", "granted"),
    [
        ("min_wrapping_ttl = 60", None, False),
        ("min_wrapping_ttl = 60", 59, False),
        ("min_wrapping_ttl = 60", 60, True),
        ("max_wrapping_ttl = 60", None, False),
        ("max_wrapping_ttl = 60", 60, True),
        ("max_wrapping_ttl = 60", 61, False),
        ("min_wrapping_ttl = 0", None, True),
    ],
)
def test_wrapping(body: str, wrap_ttl: int | None, granted: bool) -> None:
    """A wrapping TTL in a rule asks for a wrapped answer within it."""
    assert _may(_acl(body), None, wrap_ttl) is granted


@pytest.mark.parametrize(
    ("bodies", "data", "granted"),
    [
        (
            ["allowed_parameters = { x = [1] }", "allowed_parameters = { x = [2] y = [] }"],
            {"x": 1, "y": 3},
            True,
        ),
        (["allowed_parameters = { x = [1] }", "allowed_parameters = { x = [] }"], {"x": 7}, True),
        (["allowed_parameters = { x = [1] }", ""], {"y": 7}, False),
        (["denied_parameters = { x = [1] }", "denied_parameters = { x = [2] }"], {"x": 2}, False),
        (["denied_parameters = { x = [] }", "denied_parameters = { x = [2] }"], {"x": 3}, False),
        (['required_parameters = ["x"]', 'required_parameters = ["y"]'], {"x": 1}, False),
    ],
)
def test_merged_parameters(bodies: list[str], data: dict[str, Any], granted: bool) -> None:
    """Rules of one path add up as Vault adds them, in any order."""
    assert _may(_acl(*bodies), data) is granted
    assert _may(_acl(*reversed(bodies)), data) is granted


def test_merged_wrapping() -> None:
    """Of two wrapping TTLs the shorter counts; a window that nothing fits lets nothing pass."""
    acl = _acl("max_wrapping_ttl = 60", "max_wrapping_ttl = 30")
    assert _may(acl, None, 30)
    assert not _may(acl, None, 31)
    empty = _acl("min_wrapping_ttl = 60", "max_wrapping_ttl = 30")
    assert not any(_may(empty, None, ttl) for ttl in (None, 30, 45, 60))
