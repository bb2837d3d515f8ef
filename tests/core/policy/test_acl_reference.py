"""The compiled ACL against a slow evaluator that says Vault's rules in the plainest words."""

from __future__ import annotations

import re
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from secretd.core.policy.acl import compile_acl
from secretd.core.policy.model import NAMES, Capability
from secretd.core.policy.parse import parse_policy
from secretd.sdk.errors import PermissionDeniedError

Rules: TypeAlias = list[tuple[str, list[str]]]

_WORDS = [word for word in NAMES if word != "deny"]
_SEGMENTS = st.sampled_from(["a", "b", "ab", "+", "+a", ""])
_PATHS = st.lists(st.sampled_from(["a", "b", "ab", "+a", "abc", ""]), min_size=1, max_size=5).map("/".join)


@st.composite
def _patterns(draw: st.DrawFn) -> str:
    text = "/".join(draw(st.lists(_SEGMENTS, min_size=1, max_size=4))).lstrip("/")
    return text + "*" if not text.endswith("+") and draw(st.booleans()) else text


_GRANTS = st.one_of(st.just(["deny"]), st.lists(st.sampled_from(_WORDS), max_size=3, unique=True))
_RULES = st.lists(st.tuples(_patterns(), _GRANTS), max_size=8)


def _has_wildcards(pattern: str) -> bool:
    first, *others = pattern.split("/")
    return first == "+" or any(segment.startswith("+") for segment in others)


def _is_exact(pattern: str) -> bool:
    return not pattern.endswith("*") and not _has_wildcards(pattern)


def _matches(pattern: str, path: str) -> bool:
    text = pattern.removesuffix("*")
    parts = ["[^/]*" if segment == "+" else re.escape(segment) for segment in text.split("/")]
    return re.fullmatch("/".join(parts) + (".*" if pattern.endswith("*") else ""), path) is not None


def _priority(pattern: str) -> tuple[int, bool, int, int, str]:
    text = pattern.removesuffix("*")
    first = text.index("+") if _has_wildcards(pattern) else len(text)
    pluses = text.split("/").count("+") if _has_wildcards(pattern) else 0
    return first, not pattern.endswith("*"), -pluses, len(text), text


def reference(rules: Rules, path: str, *, is_list: bool) -> set[str]:
    """What the rules grant on a path."""
    united: dict[str, set[str]] = {}
    for pattern, words in rules:
        united.setdefault(pattern, set()).update(words)
    asked = [path, path.removesuffix("/")] if is_list else [path]
    for candidate in asked:
        if candidate in united and _is_exact(candidate):
            return _without_denied(united[candidate])
    for candidate in asked:
        matching = [pattern for pattern in united if not _is_exact(pattern) and _matches(pattern, candidate)]
        if matching:
            return _without_denied(united[max(matching, key=_priority)])
    return set()


def _without_denied(words: set[str]) -> set[str]:
    return set() if "deny" in words else words


def _text(rules: Rules) -> str:
    lists = [(pattern, ", ".join(f'"{word}"' for word in words)) for pattern, words in rules]
    return "\n".join(f'path "{pattern}" {{ capabilities = [{words}] }}' for pattern, words in lists)


@settings(max_examples=300, deadline=None)
@given(st.lists(_RULES, min_size=1, max_size=3), st.lists(_PATHS, min_size=1, max_size=10))
def test_the_compiled_acl_agrees(policies: list[Rules], paths: list[str]) -> None:
    """For any policies, paths and verbs both give the same answer."""
    acl = compile_acl(parse_policy(f"p{index}", _text(rules)) for index, rules in enumerate(policies))
    rules = [rule for policy in policies for rule in policy]
    for path in paths:
        assert acl.capabilities(path) == (sorted(reference(rules, path, is_list=True)) or ["deny"])
        for word in _WORDS:
            is_list = word in {"list", "scan"}
            asked = path if not is_list or path.endswith("/") else path + "/"
            try:
                acl.require(NAMES[word], path)
                granted = True
            except PermissionDeniedError:
                granted = False
            assert granted is (word in reference(rules, asked, is_list=is_list)), (path, word)


@settings(max_examples=200, deadline=None)
@given(_RULES, _PATHS)
def test_what_may_be_read_is_in_a_mount_that_is_seen(rules: Rules, path: str) -> None:
    """No path that grants something lies below a mount that is hidden."""
    acl = compile_acl([parse_policy("p", _text(rules))])
    mount, slash, _ = path.partition("/")
    if not mount or not slash:
        return
    try:
        acl.require(Capability.READ, path)
    except PermissionDeniedError:
        return
    assert acl.sees_mount(f"{mount}/")
