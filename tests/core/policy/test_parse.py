"""From policy texts to rules."""

from __future__ import annotations

import pytest

from secretd.core.policy.model import Capability, Limits
from secretd.core.policy.parse import parse_policy
from secretd.sdk.errors import InvalidRequestError

_READ = Capability.READ | Capability.LIST
_WRITE = _READ | Capability.CREATE | Capability.UPDATE | Capability.DELETE


def _bits(body: str) -> int:
    return parse_policy("p", f'path "a" {{ {body} }}').rules[0].capabilities


@pytest.mark.parametrize(
    ("body", "bits"),
    [
        ('capabilities = ["create"]', Capability.CREATE),
        ('capabilities = ["read", "list",]', _READ),
        ('capabilities = ["patch", "sudo", "scan"]', Capability.PATCH | Capability.SUDO | Capability.SCAN),
        ('capabilities = ["read", "deny", "update"]', Capability.DENY),
        ("capabilities = []", 0),
        ("", 0),
        ('policy = "read"', _READ),
        ('policy = "write"', _WRITE),
        ('policy = "sudo"', _WRITE | Capability.SUDO),
        ('policy = "deny"', Capability.DENY),
        ('policy = "read" capabilities = ["update"]', _READ | Capability.UPDATE),
        ('comment = "why" capabilities = ["read"]', Capability.READ),
    ],
)
def test_capabilities(body: str, bits: int) -> None:
    """Each way to grant gives its bits; deny leaves no other."""
    assert _bits(body) == bits


@pytest.mark.parametrize(
    ("path", "kept", "is_prefix", "has_wildcards"),
    [
        ("a/b", "a/b", False, False),
        ("/a/b", "a/b", False, False),
        ("a/*", "a/", True, False),
        ("*", "", True, False),
        ("", "", False, False),
        ("a/*/b", "a/*/b", False, False),
        ("a/+/b", "a/+/b", False, True),
        ("+", "+", False, True),
        ("a/+/b*", "a/+/b", True, True),
        ("a+", "a+", False, False),
    ],
)
def test_path_kinds(path: str, kept: str, is_prefix: bool, has_wildcards: bool) -> None:
    """A star counts at the end only, a plus as a whole segment, a leading slash not at all."""
    (rule,) = parse_policy("p", f'path "{path}" {{ policy = "read" }}').rules
    assert (rule.path, rule.is_prefix, rule.has_wildcards) == (kept, is_prefix, has_wildcards)


def test_limits_are_kept() -> None:
    """Parameters, lower-cased, and wrapping TTLs, in seconds, arrive in the rule."""
    (rule,) = parse_policy(
        "p",
        """path "a" {
          capabilities = ["update"]
          allowed_parameters = { "Foo" = ["x*", 1, true] "*" = [] }
          denied_parameters { bar = [] }
          required_parameters = ["Foo"]
          min_wrapping_ttl = "1m"
          max_wrapping_ttl = 3600
        }""",
    ).rules
    assert rule.limits == Limits(
        allowed={"foo": ("x*", 1, True), "*": ()},
        denied={"bar": ()},
        required=("foo",),
        min_wrapping_ttl=60,
        max_wrapping_ttl=3600,
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"path": {"a": {"capabilities": ["read"]}, "b/*": {"policy": "write"}}}',
        '{"name": "x", "path": [{"a": {"capabilities": ["read"]}}, {"b/*": {"policy": "write"}}]}',
        'path a { capabilities = ["read"] } path "b/*" { policy = "write" }',
    ],
)
def test_json_says_the_same_as_hcl(text: str) -> None:
    """JSON's maps and lists of maps give the rules that blocks give."""
    rules = parse_policy("p", text).rules
    assert [(rule.path, rule.capabilities) for rule in rules] == [("a", Capability.READ), ("b/", _WRITE)]


def test_text_is_kept_byte_for_byte() -> None:
    """Reading a policy back shows what was written."""
    text = '\n path "a"   {policy="read"}  # é\r\n'
    assert parse_policy("p", text).text == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('path "a" {\n polciy = "read"\n}', '"polciy" on line 2'),
        ("foo = 1", '"foo" on line 1'),
        ('path "a" { path "b" {} }', '"path" on line 1'),
        ('\npath "a" { capabilities = ["root"] }', "capabilities: a capability is one of .* on line 2"),
        ('path "a" { capabilities = ["Read"] }', "capabilities"),
        ('path "a" { capabilities = ["deny", "nonsense"] }', "capabilities"),
        ('path "a" { capabilities = "read" }', "list of strings"),
        ('path "a" { capabilities = [1] }', "list of strings"),
        ('path "a" { capabilities = ["read"] capabilities = ["deny"] }', "twice"),
        ('path "a" { policy = "owner" }', "policy"),
        ('path "a+*" { policy = "read" }', r"'\+\*' is forbidden"),
        ('path "a{{" { policy = "read" }', "unbalanced"),
        ('path "a}}{{" { policy = "read" }', "unbalanced"),
        ('path "a\\n" { policy = "read" }', "printable"),
        ('path "a" "b" { policy = "read" }', "one label"),
        ('path = "a"', "one label"),
        ('path "a" { allowed_parameters = { x = "y" } }', "map of lists"),
        ('path "a" { required_parameters = "x" }', "list of strings"),
        ('path "a" { min_wrapping_ttl = -1 }', "negative"),
        ('path "a" { min_wrapping_ttl = "1h" max_wrapping_ttl = 60 }', "cannot be less"),
        ('path "a" { min_wrapping_ttl = "soon" }', "duration"),
        ('path "a" { expiration = "2030-01-01T00:00:00Z" }', '"expiration"'),
        ('path "a" { control_group = {} }', '"control_group"'),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    """What we would not enforce is refused with the key and the line."""
    with pytest.raises(InvalidRequestError, match=f"failed to parse policy: .*{words}"):
        parse_policy("p", text)


def test_a_refusal_shows_no_odd_key() -> None:
    """A key that is no plain word is not repeated in the error."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_policy("p", 'path "a" { "s3cret value" = 1 }')
    assert "s3cret" not in str(caught.value)
