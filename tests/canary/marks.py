"""Marked values, and finding them again in whatever clothes: text, hex, base64, URL-escaped, reversed bytes apart."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from urllib.parse import quote


@dataclass
class Marks:
    """What must appear in no sink: name → value."""

    known: dict[str, str] = field(default_factory=dict)

    def new(self, name: str) -> str:
        """A marked value that the test gives to secretd."""
        return self.add(name, f"canary.{name}/{secrets.token_hex(8)}+Aa1")

    def add(self, name: str, value: str) -> str:
        """A secret that secretd gave to the test."""
        assert len(value) >= 12, name
        self.known[f"{name}-{len(self.known)}"] = value
        return value

    def find(self, text: bytes) -> list[str]:
        """Names of the marks that are in a sink."""
        low = text.lower()
        found = []
        for name, value in self.known.items():
            if any(form in text for form in _forms(value)) or value.encode().hex().encode() in low:
                found.append(name)
        return found


def _forms(value: str) -> set[bytes]:
    raw = value.encode()
    forms = {raw, quote(value, safe="").encode(), value.replace("/", "\\/").encode()}
    for shift in range(3):  # base64 of a text that begins anywhere before it
        whole = base64.b64encode(b"\0" * shift + raw)
        core = whole[4 if shift else 0 : -4]
        forms |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return forms
