"""The built-in policies and the names of policies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretd.core.policy.acl import compile_acl
from secretd.core.policy.builtin import (
    DEFAULT,
    DEFAULT_TEXT,
    RESPONSE_WRAPPING_TEXT,
    normalise_policy_name,
    normalise_policy_names,
    require_assignable,
    require_deletable,
    require_writable,
)
from secretd.core.policy.parse import parse_policy
from secretd.sdk.errors import InvalidRequestError

_DEFAULT = compile_acl([parse_policy(DEFAULT, DEFAULT_TEXT)])


@pytest.mark.parametrize(
    ("path", "granted"),
    [
        ("auth/token/lookup-self", ["read"]),
        ("auth/token/renew-self", ["update"]),
        ("auth/token/revoke-self", ["update"]),
        ("sys/capabilities-self", ["update"]),
        ("sys/internal/ui/resultant-acl", ["read"]),
        ("sys/leases/lookup", ["update"]),
        ("sys/leases/renew", ["update"]),
        ("sys/renew", ["update"]),
        ("cubbyhole/x/y", ["create", "delete", "list", "read", "update"]),
        ("sys/wrapping/wrap", ["update"]),
        ("sys/wrapping/lookup", ["update"]),
        ("sys/wrapping/unwrap", ["update"]),
        ("sys/tools/hash", ["update"]),
        ("sys/tools/hash/sha2-256", ["update"]),
        ("identity/oidc/provider/x/authorize", ["read", "update"]),
        ("identity/entity/id/x", ["deny"]),
        ("auth/token/create", ["deny"]),
        ("auth/token/lookup", ["deny"]),
        ("sys/leases/lookup/x", ["deny"]),
        ("sys/leases/revoke", ["deny"]),
        ("sys/mounts", ["deny"]),
        ("secret/x", ["deny"]),
    ],
)
def test_the_default_policy(path: str, granted: list[str]) -> None:
    """The default policy grants what Vault's does and nothing more."""
    assert _DEFAULT.capabilities(path) == granted


def test_the_wrapping_policy() -> None:
    """A wrapping token may open its envelope only."""
    acl = compile_acl([parse_policy("response-wrapping", RESPONSE_WRAPPING_TEXT)])
    assert acl.capabilities("cubbyhole/response") == ["create", "read"]
    assert acl.capabilities("sys/wrapping/unwrap") == ["update"]
    assert acl.capabilities("auth/token/lookup-self") == ["deny"]


def test_names_have_one_form() -> None:
    """Case, blanks, repeats and order make no difference."""
    assert normalise_policy_names([" B ", "a", "b", "A", "", "  "]) == ("a", "b")
    assert normalise_policy_name("team/DB_ro-1.x@y:z") == "team/db_ro-1.x@y:z"


@pytest.mark.parametrize("name", ["root", "ROOT", "Root", " root ", "rOOt\t", "\nroot"])
def test_root_is_always_recognised(name: str) -> None:
    """However it is typed, what could be root is exactly root, and root stands alone."""
    assert normalise_policy_names(["a", name]) == ("root",)


@pytest.mark.parametrize(
    "name",
    [
        "rооt",
        "ＲＯＯＴ",
        "roo\u0074\u0301",
        "root\x00",
        "root\u200b",
        "\u00a0root",
        "r oot",
        "root,",
        "ro\tot",
        "*",
        "+",
        "-a",
    ]
    + ["a*", "a\\b", "{{x}}", "\u212aey", "a" * 129, "", " "],
)
def test_odd_names_are_refused(name: str) -> None:
    """Homoglyphs, invisible and separating characters are no names, and are not repeated."""
    with pytest.raises(InvalidRequestError):
        normalise_policy_name(name)


@given(st.text(max_size=12) | st.text("rootROOTо０ \t\u200b", max_size=8))
def test_no_name_is_nearly_root(name: str) -> None:
    """A name that passes is lower-case ASCII, and passing it again changes nothing."""
    try:
        canonical = normalise_policy_name(name)
    except InvalidRequestError:
        return
    assert canonical.isascii()
    assert canonical == canonical.lower().strip() == normalise_policy_name(canonical)
    assert (canonical == "root") is (name.strip(" \t\r\n").casefold() == "root")


def test_what_is_not_the_operators() -> None:
    """root and response-wrapping are not written, those and default not deleted, wrapping not assigned."""
    require_writable("default")
    require_deletable("app")
    require_assignable(["root", "default"])
    for name in ("root", "response-wrapping"):
        with pytest.raises(InvalidRequestError, match=f'cannot update "{name}" policy'):
            require_writable(name)
    for name in ("root", "response-wrapping", "default"):
        with pytest.raises(InvalidRequestError, match=f'cannot delete "{name}" policy'):
            require_deletable(name)
    with pytest.raises(InvalidRequestError, match="cannot assign"):
        require_assignable(["app", "response-wrapping"])
