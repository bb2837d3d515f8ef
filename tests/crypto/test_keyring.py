"""Terms: the newest encrypts, all decrypt, none is shown."""

from __future__ import annotations

import copy
import io
import pickle

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from secretd.crypto import aead, keyring
from secretd.crypto.keyring import Keyring, UnknownTermError
from secretd.sdk.errors import BarrierError

ROOT = bytes(range(32))


def keys_of(ring: Keyring, root_key: bytes) -> list[bytes]:
    """The raw keys, taken from the wrapped form as an attacker with the root key would."""
    plaintext = aead.decrypt(root_key, ring.wrap(root_key), keyring._AAD)
    return [term[1] for term in msgspec.msgpack.decode(plaintext)["terms"]]


@settings(max_examples=30)
@given(plaintexts=st.lists(st.binary(max_size=100), min_size=1, max_size=6))
def test_old_terms_still_open(plaintexts: list[bytes]) -> None:
    """After any number of rotations every blob still opens, also from a stored keyring."""
    ring = Keyring.generate(1.0)
    blobs = []
    for plaintext in plaintexts:
        blobs.append(ring.encrypt(plaintext, b"aad"))
        ring = ring.rotate(2.0)
    loaded = Keyring.unwrap(ROOT, ring.wrap(ROOT))
    assert [loaded.decrypt(blob, b"aad") for blob in blobs] == plaintexts
    assert [aead.term_of(blob) for blob in blobs] == list(range(1, len(plaintexts) + 1))
    assert loaded.active_term == len(plaintexts) + 1


def test_terms_are_kept() -> None:
    """Terms count from one and keep birth and encryptions through storage."""
    ring = Keyring.generate(1700000000.5)
    ring.encrypt(b"", b"")
    ring = Keyring.unwrap(ROOT, ring.rotate(1700000001.0).wrap(ROOT))
    ring.encrypt(b"", b"")
    ring.encrypt(b"", b"")
    assert ring.terms == (
        keyring.TermInfo(1, 1700000000.5, 1),
        keyring.TermInfo(2, 1700000001.0, 2),
    )
    assert ring.active == ring.terms[1]


def test_rotation_leaves_the_old_keyring_alone() -> None:
    """Rotating gives another keyring; the old one still encrypts under its own term."""
    old = Keyring.generate(1.0)
    new = old.rotate(2.0)
    assert (old.active_term, new.active_term) == (1, 2)
    assert new.decrypt(old.encrypt(b"value", b""), b"") == b"value"


def test_unknown_term_is_told_apart() -> None:
    """A blob of a newer keyring asks for a reload, and opens after it."""
    old = Keyring.generate(1.0)
    new = old.rotate(2.0)
    blob = new.encrypt(b"value", b"")
    with pytest.raises(UnknownTermError) as caught:
        old.decrypt(blob, b"")
    assert isinstance(caught.value, BarrierError)
    assert Keyring.unwrap(ROOT, new.wrap(ROOT)).decrypt(blob, b"") == b"value"


@pytest.mark.parametrize("junk", [b"", b"\x01", b"\x02" + bytes(60), bytes(32)])
def test_junk_asks_for_no_reload(junk: bytes) -> None:
    """What is no blob at all is a BarrierError that no reload would heal."""
    with pytest.raises(BarrierError) as caught:
        Keyring.generate(1.0).decrypt(junk, b"")
    assert not isinstance(caught.value, UnknownTermError)


def test_moved_blob_asks_for_no_reload() -> None:
    """A blob whose AAD differs is a BarrierError that no reload would heal."""
    ring = Keyring.generate(1.0)
    with pytest.raises(BarrierError) as caught:
        ring.decrypt(ring.encrypt(b"value", b"here"), b"there")
    assert not isinstance(caught.value, UnknownTermError)


def test_two_keyrings_do_not_open_each_other() -> None:
    """The same term of another keyring is another key."""
    with pytest.raises(BarrierError):
        Keyring.generate(1.0).decrypt(Keyring.generate(1.0).encrypt(b"value", b""), b"")


def test_rotates_before_the_limit() -> None:
    """A term wants rotation at 2**31 encryptions, not one earlier, and its successor begins at none."""
    almost = Keyring.generate(1.0).with_encryptions(1, 2**31 - 1)
    assert not almost.needs_rotation
    almost.encrypt(b"", b"")
    assert almost.needs_rotation
    assert not almost.rotate(2.0).needs_rotation


def test_counts_of_two_daemons_add_up() -> None:
    """Two daemons that save their counts into one stored keyring lose none, and count none twice."""
    stored = Keyring.generate(1.0).wrap(ROOT)
    daemons = [Keyring.unwrap(ROOT, stored) for _ in range(2)]
    for encryptions, own in zip((3, 5), daemons, strict=True):
        for _ in range(encryptions):
            own.encrypt(b"", b"")
    for own in (*daemons, *daemons):
        count = own.unsaved
        stored = Keyring.unwrap(ROOT, stored).with_encryptions(own.active_term, count).wrap(ROOT)
        own.mark_saved(count)
    assert Keyring.unwrap(ROOT, stored).active.encryptions == 8
    assert [own.active.encryptions for own in daemons] == [3, 5]


def test_counts_after_another_daemon_rotated() -> None:
    """A late count goes to the term it belongs to, and a term that never was is refused."""
    own = Keyring.generate(1.0)
    own.encrypt(b"", b"")
    stored = Keyring.unwrap(ROOT, own.wrap(ROOT)).rotate(2.0)
    counted = stored.with_encryptions(own.active_term, 4)
    assert [term.encryptions for term in counted.terms] == [5, 0]
    with pytest.raises(UnknownTermError):
        stored.with_encryptions(3, 1)


def test_other_root_key() -> None:
    """Another root key does not open the keyring."""
    with pytest.raises(BarrierError):
        Keyring.unwrap(bytes(32), Keyring.generate(1.0).wrap(ROOT))


@given(plaintext=st.binary(max_size=60))
def test_foreign_plaintext(plaintext: bytes) -> None:
    """Something else under the root key is not taken for a keyring."""
    with pytest.raises(BarrierError):
        Keyring.unwrap(ROOT, aead.encrypt(ROOT, 0, plaintext, keyring._AAD))
    with pytest.raises(BarrierError):
        Keyring.unwrap(ROOT, aead.encrypt(ROOT, 0, plaintext, b""))


@pytest.mark.parametrize(
    "terms",
    [
        [],
        [[0, bytes(32), 1.0, 0]],
        [[1, bytes(31), 1.0, 0]],
        [[-1, bytes(32), 1.0, 0]],
        [[2**32, bytes(32), 1.0, 0]],
    ],
)
def test_impossible_keyrings(terms: list[list[object]]) -> None:
    """A stored keyring without terms, or with a term or key of the wrong size, is refused."""
    plaintext = msgspec.msgpack.encode({"type": "keyring/1", "terms": terms})
    with pytest.raises(BarrierError):
        Keyring.unwrap(ROOT, aead.encrypt(ROOT, 0, plaintext, keyring._AAD))


def test_keys_are_never_shown() -> None:
    """No repr, no rich rendering, no pickle and no copy of a keyring gives a key away."""
    ring = Keyring.generate(1.0).rotate(2.0)
    sink = io.StringIO()
    console = Console(file=sink, width=500)
    for shown in (ring, ring._terms, ring.terms, list(ring._terms.values())):
        console.print(shown)
        sink.write(repr(shown) + str(shown))
    for key in keys_of(ring, ROOT):
        assert repr(key)[2:-1] not in sink.getvalue()
        assert key.hex() not in sink.getvalue()
    assert "key=" not in sink.getvalue()
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(ring)


def test_keys_are_random() -> None:
    """Every term of every keyring has a key of its own, 32 bytes long."""
    keys = [key for _ in range(50) for key in keys_of(Keyring.generate(1.0).rotate(2.0), ROOT)]
    assert len(set(keys)) == 100
    assert {len(key) for key in keys} == {32}
