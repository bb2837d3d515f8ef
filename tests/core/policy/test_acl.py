"""Vault's priority rules, as tables; the answers were compared with `bao server -dev`."""

from __future__ import annotations

import itertools

import pytest

from secretd.core.policy.acl import Acl, compile_acl
from secretd.core.policy.builtin import ROOT_POLICY
from secretd.core.policy.model import Capability
from secretd.core.policy.parse import parse_policy
from secretd.sdk.errors import PermissionDeniedError

VERBS = ["create", "read", "update", "delete", "list", "patch"]


def _acl(*texts: str) -> Acl:
    return compile_acl(parse_policy(f"p{index}", text) for index, text in enumerate(texts))


def _text(rules: dict[str, str]) -> str:
    lists = {path: ", ".join(f'"{word}"' for word in words.split()) for path, words in rules.items()}
    return "\n".join(f'path "{path}" {{ capabilities = [{words}] }}' for path, words in lists.items())


def _may(acl: Acl, verb: str, path: str) -> bool:
    try:
        acl.require(Capability[verb.upper()], path)
    except PermissionDeniedError:
        return False
    return True


# Pattern, path, whether a LIST may, whether the others may.
SHAPES = [
    ("a/b", "a/b", True, True),
    ("a/b", "a/b/", True, False),
    ("a/b/", "a/b", True, False),
    ("a/b/", "a/b/", True, True),
    ("a/b", "a/bc", False, False),
    ("a/b", "a/b/c", False, False),
    ("a/b", "a", False, False),
    ("a/b*", "a/b", True, True),
    ("a/b*", "a/bc/d", True, True),
    ("a/b/*", "a/b", True, False),
    ("a/b/*", "a/b/", True, True),
    ("a/b/*", "a/b/c/d", True, True),
    ("*", "a/b", True, True),
    ("a/+", "a/b", True, True),
    ("a/+", "a/b/", True, False),
    ("a/+", "a/", True, True),
    ("a/+", "a/b/c", False, False),
    ("a/+/", "a/b/", True, True),
    ("a/+/", "a/b", True, False),
    ("+/b", "a/b", True, True),
    ("+/b", "a/c", False, False),
    ("a/+/c", "a/b/c", True, True),
    ("a/+/c", "a/b/x/c", False, False),
    ("a/+/c*", "a/b/cd/e", True, True),
    ("a/+/*", "a/b/c/d", True, True),
    ("a/+/*", "a/b", True, False),
    ("a/+b", "a/+b", True, True),
    ("a/+b", "a/xb", False, False),
    ("a/*/c", "a/b/c", False, False),
]


@pytest.mark.parametrize(("verb", "shape"), list(itertools.product(VERBS, SHAPES)))
def test_verbs_and_shapes(verb: str, shape: tuple[str, str, bool, bool]) -> None:
    """A capability reaches the paths of its pattern and no others, and no other verb."""
    pattern, path, may_list, may_others = shape
    acl = _acl(_text({pattern: verb}))
    assert _may(acl, verb, path) is (may_list if verb == "list" else may_others)
    assert not any(_may(acl, other, path) for other in VERBS if other != verb)


@pytest.mark.parametrize(("verb", "shape"), list(itertools.product(VERBS, SHAPES)))
def test_deny_wins(verb: str, shape: tuple[str, str, bool, bool]) -> None:
    """A deny of the same pattern silences every grant, in whichever policy and order it comes."""
    pattern, path, _, _ = shape
    grant, deny = _text({pattern: " ".join(VERBS)}), _text({pattern: "deny"})
    for texts in ((grant, deny), (deny, grant), (f"{grant}\n{deny}",), (f"{deny}\n{grant}",)):
        assert not _may(_acl(*texts), verb, path)
        assert _acl(*texts).capabilities(path) == ["deny"]


# Rules of which two or more match, the path, and what decides.
PRIORITIES = [
    ({"*": "read", "a/*": "update"}, "a/b", ["update"]),
    ({"a/*": "read", "a/b*": "deny"}, "a/b", ["deny"]),
    ({"*": "deny", "a/b": "read"}, "a/b", ["read"]),
    ({"a/b": "read", "a/+": "update"}, "a/b", ["read"]),
    ({"a/*": "read", "+/b": "update"}, "a/b", ["read"]),
    ({"a/+": "read", "a/*": "update"}, "a/b", ["read"]),
    ({"a/+/c": "read", "+/b/c": "update"}, "a/b/c", ["read"]),
    ({"a/+/c": "read", "a/+/*": "update"}, "a/b/c", ["read"]),
    ({"a/+/+": "read", "a/+/c": "update"}, "a/b/c", ["update"]),
    ({"a/+/c*": "read", "a/+/*": "update"}, "a/b/c", ["read"]),
    ({"a/+/c*": "read", "a/*": "update"}, "a/b/c", ["update"]),
    ({"a/b": "read", "a/b/": "update"}, "a/b/", ["update"]),
    ({"a/b": "read", "a/b/*": "update"}, "a/b/", ["read"]),
    ({"*": "list", "a/b/*": "deny"}, "a/b/", ["deny"]),
    ({"a/b": ""}, "a/b", ["deny"]),
    ({"*": "read", "a/b": ""}, "a/b", ["deny"]),
]


@pytest.mark.parametrize(("rules", "path", "decided"), PRIORITIES)
def test_one_rule_decides(rules: dict[str, str], path: str, decided: list[str]) -> None:
    """Of several matching rules Vault's one decides, wherever the others stand."""
    assert _acl(_text(rules)).capabilities(path) == decided
    assert (
        _acl(*(_text({pattern: words}) for pattern, words in reversed(rules.items()))).capabilities(path)
        == decided
    )


def test_capabilities_unite_over_policies_and_blocks() -> None:
    """Rules of one path add up, those of one policy as those of several."""
    acl = _acl(
        'path "a" { policy = "read" } path "a" { capabilities = ["patch"] }', _text({"a": "create sudo"})
    )
    assert acl.capabilities("a") == ["create", "list", "patch", "read", "sudo"]


def test_a_listing_needs_no_slash() -> None:
    """LIST of a path and of the path with its slash are the same request."""
    acl = _acl(_text({"a/b/": "list", "a/c": "list", "a/d/+": "list"}))
    for path in ("a/b", "a/b/", "a/c", "a/c/", "a/d/x", "a/d/x/"):
        acl.require(Capability.LIST, path)
    with pytest.raises(PermissionDeniedError):
        acl.require(Capability.READ, "a/b/")


def test_root_may_everything() -> None:
    """The policy named root grants all, beside whatever else."""
    acl = compile_acl([parse_policy("p", _text({"*": "deny"})), ROOT_POLICY])
    acl.require(Capability.DELETE, "sys/anything", {"x": 1})
    acl.require_sudo("sys/raw")
    assert acl.is_root
    assert acl.capabilities("x") == ["root"]
    assert acl.sees_mount("secret/")


def test_nothing_grants_nothing() -> None:
    """No policies, no rights."""
    acl = _acl()
    assert not acl.is_root
    assert acl.capabilities("a") == ["deny"]
    assert not acl.sees_mount("a/")
    with pytest.raises(PermissionDeniedError):
        acl.require(Capability.READ, "a")


def test_sudo_comes_from_the_rule_that_decides() -> None:
    """A sudo on a wider pattern does not help where a narrower rule lacks it."""
    acl = _acl(_text({"sys/*": "sudo", "sys/raw": "read", "sys/leases/lookup": "list sudo"}))
    acl.require_sudo("sys/audit")
    acl.require_sudo("sys/leases/lookup/")
    for path in ("sys/raw", "other"):
        with pytest.raises(PermissionDeniedError):
            acl.require_sudo(path)


@pytest.mark.parametrize(
    ("rules", "seen"),
    [
        ({"kv/data/x": "read"}, True),
        ({"kv/data/*": "list"}, True),
        ({"kv/": "list"}, True),
        ({"k*": "read"}, True),
        ({"*": "read"}, True),
        ({"+/data/x": "read"}, True),
        ({"+/*": "read"}, True),
        ({"kv/+/x": "read"}, True),
        ({"+/team/x": "read", "kv/x": "deny"}, True),
        ({"kv/data/x": "deny"}, False),
        ({"kv/data/x": ""}, False),
        ({"kv2/data/x": "read"}, False),
        ({"other/+": "read"}, False),
        ({"+": "read"}, True),  # Vault: `kv` without its slash matches
    ],
)
def test_which_mounts_are_seen(rules: dict[str, str], seen: bool) -> None:
    """A mount is shown to whoever may do something below it."""
    assert _acl(_text(rules)).sees_mount("kv/") is seen


def test_seen_mounts_of_several_segments() -> None:
    """Wildcards are held against every segment of a deeper mount."""
    acl = _acl(_text({"team/+/x": "read"}))
    assert acl.sees_mount("team/kv/")
    assert not acl.sees_mount("crew/kv/")
    assert not acl.sees_mount("team/kv/deep/")


def test_templated_paths_are_filled() -> None:
    """A reference is replaced by the holder's value; without one the rule grants nothing."""
    policy = parse_policy("p", 'path "kv/{{ identity.entity.name }}/*" { policy = "read" }')
    known = compile_acl([policy], expand={"identity.entity.name": "ada"}.get)
    assert known.capabilities("kv/ada/x") == ["list", "read"]
    assert known.capabilities("kv/bob/x") == ["deny"]
    nobody: dict[str, str] = {}
    for acl in (compile_acl([policy]), compile_acl([policy], expand=nobody.get)):
        assert acl.capabilities("kv//x") == ["deny"]
        assert not acl.sees_mount("kv/")


@pytest.mark.parametrize("value", ["*", "+", "a/b", "a,b", "", ".", "..", "a\n", "{{x}}", "%2e"])
def test_values_cannot_widen_a_rule(value: str) -> None:
    """A holder whose name has a metacharacter gets nothing from the rule."""
    policy = parse_policy("p", 'path "kv/{{name}}" { policy = "read" }')
    acl = compile_acl([policy], expand={"name": value}.get)
    assert not acl.sees_mount("kv/")
