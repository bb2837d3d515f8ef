"""Password policies: a length, and charsets of which at least so many characters must appear.

``length = 20`` and ``rule "charset" { charset = "…" min-chars = 1 }`` blocks, in HCL or JSON, as in Vault.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import msgspec

from secretd.core.policy.grammar import Block, Entry, read_text
from secretd.core.policy.parse import labelled_blocks, on, shown
from secretd.sdk.errors import InvalidRequestError

MIN_LENGTH = 4
MAX_LENGTH = 100
MAX_CHARSET = 4096  # characters
MAX_RULES = 64


class Charset(msgspec.Struct, frozen=True):
    """Characters, each once and sorted, and how many of the password must come from them."""

    characters: str
    min_chars: int = 0


class PasswordPolicy(msgspec.Struct, frozen=True):
    """A policy that can be met. ``length`` is in characters."""

    length: int
    charsets: tuple[Charset, ...]

    @property
    def alphabet(self) -> str:
        """Every character that a password may have."""
        return "".join(sorted(set().union(*(charset.characters for charset in self.charsets))))


def parse_password_policy(text: str) -> PasswordPolicy:
    """Return the policy; raise InvalidRequestError naming the key, for one that cannot be met, too."""
    try:
        top = read_text(text)
        length = _length(top)
        charsets = tuple(_charset(label, body, line) for label, body, line in labelled_blocks(top, "rule"))
        policy = PasswordPolicy(length, charsets)
        _require_possible(policy)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"invalid password policy: {error.message}") from None
    return policy


def generate_password(policy: PasswordPolicy) -> str:
    """Return a fresh password of the policy.

    What the charsets ask for is drawn first and the rest from all of them, then shuffled: drawing until a
    password fits, as Vault does, can take for ever where the minima fill the length.
    """
    drawn = [
        secrets.choice(charset.characters) for charset in policy.charsets for _ in range(charset.min_chars)
    ]
    alphabet = policy.alphabet
    drawn += [secrets.choice(alphabet) for _ in range(policy.length - len(drawn))]
    secrets.SystemRandom().shuffle(drawn)
    return "".join(drawn)


def entropy_bits(policy: PasswordPolicy) -> float:
    """Return a lower bound of the min-entropy of :func:`generate_password`, in bits.

    The bound is that of the characters before the shuffle. A shuffle that knows nothing of them is a mixture
    of permutations, and no password is likelier in the mixture than it is at most in one of them.
    """
    asked = sum(charset.min_chars for charset in policy.charsets)
    bits = sum(charset.min_chars * math.log2(len(charset.characters)) for charset in policy.charsets)
    return bits + (policy.length - asked) * math.log2(len(policy.alphabet))


def _length(top: Block) -> int:
    lengths = [entry for entry in top.entries if entry.keys == ("length",)]
    for entry in top.entries:
        if entry.keys[0] != "rule" and (entry.keys != ("length",) or len(lengths) > 1):
            raise InvalidRequestError(f"invalid key {shown(entry.keys[0])}{on(entry.line)}")
    length = _whole(lengths[0]) if lengths else 0
    if not MIN_LENGTH <= length <= MAX_LENGTH:
        raise InvalidRequestError(f"passwords must be between {MIN_LENGTH} and {MAX_LENGTH} characters")
    return length


def _whole(entry: Entry) -> int:
    if isinstance(entry.value, bool) or not isinstance(entry.value, int) or entry.value < 0:
        raise InvalidRequestError(f"{entry.keys[0]} is a whole number{on(entry.line)}")
    return entry.value


def _charset(label: str, body: Block, line: int) -> Charset:
    if label != "charset":
        raise InvalidRequestError(f"the only rule is charset{on(line)}")
    found: dict[str, Any] = {}
    for entry in body.entries:
        if entry.keys == ("charset",) and "characters" not in found:
            found["characters"] = _characters(entry)
        elif entry.keys == ("min-chars",) and "min_chars" not in found:
            found["min_chars"] = _whole(entry)
        else:
            raise InvalidRequestError(f"invalid key {shown(entry.keys[0])}{on(entry.line)}")
    if "characters" not in found:
        raise InvalidRequestError(f"no charset specified{on(line)}")
    return Charset(**found)


def _characters(entry: Entry) -> str:
    value = entry.value
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CHARSET:
        raise InvalidRequestError(f"a charset is text of 1 to {MAX_CHARSET} characters{on(entry.line)}")
    if not value.isprintable():
        raise InvalidRequestError(f"non-printable character in charset{on(entry.line)}")
    return "".join(sorted(set(value)))


def _require_possible(policy: PasswordPolicy) -> None:
    if not policy.charsets:
        raise InvalidRequestError("no charset specified")
    if len(policy.charsets) > MAX_RULES:
        raise InvalidRequestError(f"a policy has at most {MAX_RULES} rules")
    asked = sum(charset.min_chars for charset in policy.charsets)
    if asked > policy.length:
        raise InvalidRequestError("the rules ask for more characters than the length")
    if len(policy.alphabet) == 1:
        raise InvalidRequestError("a charset of one character makes the same password each time")
