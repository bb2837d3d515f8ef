"""Token parameters of roles and users: merged, shown, refused where they would be ignored."""

from __future__ import annotations

import pytest

from secretd.sdk.engine import Mount
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Duration, Strings
from secretd.sdk.token_fields import TokenFields, TokenParameters, display_name_of


def _merge(**fields: object) -> TokenParameters:
    return TokenParameters(ttl=60, policies=("a",)).merge(TokenFields(**fields))


def test_absent_fields_stay() -> None:
    """A write without a word about tokens changes nothing."""
    assert _merge() == TokenParameters(ttl=60, policies=("a",))


def test_new_names_win_over_old_ones() -> None:
    """Both given: ``token_ttl`` and ``token_policies`` count."""
    merged = _merge(
        token_ttl=Duration(5), ttl=Duration(9), token_policies=Strings(["x"]), policies=Strings(["y"])
    )
    assert (merged.ttl, merged.policies, merged.has_old_policies) == (5, ("x",), False)


def test_an_empty_list_takes_policies_away() -> None:
    """It is not the same as no list."""
    assert _merge(token_policies=Strings()).policies == ()


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"token_ttl": Duration(-1)}, "token_ttl"),
        ({"token_max_ttl": Duration(59)}, "token_max_ttl"),
        ({"token_num_uses": 2**31}, "token_num_uses"),
        ({"token_bound_cidrs": Strings(["::/0"])}, "token_bound_cidrs"),
        ({"token_type": "default-batch"}, "token_type"),
        ({"policies": Strings(["ROOT"])}, "root"),
    ],
)
def test_bad_parameters_are_named(fields: dict[str, object], name: str) -> None:
    """What is impossible or not enforced is refused."""
    with pytest.raises(InvalidRequestError, match=name):
        _merge(**fields)


@pytest.mark.parametrize(
    ("path", "name", "shown"),
    [("auth/userpass/", "bob", "userpass-bob"), ("auth/a/b/", "", "a-b"), ("auth/approle/", "", "approle")],
)
def test_display_names_begin_with_the_mount(path: str, name: str, shown: str) -> None:
    """As Vault's do."""
    assert display_name_of(Mount("1", path, "x", "x", 1, 1), name) == shown
