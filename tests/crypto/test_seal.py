"""The seal: who gets the root key back, and what happens to everybody else."""

from __future__ import annotations

import base64
import copy
import pickle

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretd.crypto import seal, shamir
from secretd.crypto.seal import RecoveryConfig, SealConfig, StaticSeal, UnsealProgress
from secretd.sdk.errors import BarrierError, ConfigError, InvalidRequestError

ROOT = b"r" * 32
OLD = (b"o" * 32, "2026-10")
NEW = (b"n" * 32, "2026-11")


def started(shares: int = 5, threshold: int = 3) -> tuple[UnsealProgress, bytes, list[bytes]]:
    """A sealed store with its key shares, and an empty progress."""
    wrapped, parts = seal.create_shamir(ROOT, shares, threshold)
    return UnsealProgress(shares, threshold), wrapped, parts


@settings(max_examples=30)
@given(numbers=st.integers(2, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(2, n))), data=st.data())
def test_unseal(numbers: tuple[int, int], data: st.DataObject) -> None:
    """Any threshold of shares, in any order, unseals, with progress and one nonce on the way."""
    progress, wrapped, parts = started(*numbers)
    chosen = data.draw(st.permutations(parts))[: numbers[1]]
    nonces = set()
    for done, part in enumerate(chosen[:-1], start=1):
        assert progress.submit(part) is None
        assert progress.progress == done
        nonces.add(progress.nonce)
    key = progress.submit(chosen[-1])
    assert key is not None
    assert seal.unwrap_root_key(key, wrapped, seal_type="shamir") == ROOT
    assert len(nonces) == 1
    assert (progress.progress, progress.nonce) == (0, "")


def test_one_of_one() -> None:
    """With one share of one, the share is the 32-byte unseal key itself."""
    progress, wrapped, parts = started(1, 1)
    assert [len(part) for part in parts] == [32]
    key = progress.submit(parts[0])
    assert key == parts[0]
    assert seal.unwrap_root_key(parts[0], wrapped, seal_type="shamir") == ROOT


def test_the_same_share_counts_once() -> None:
    """A share given again changes nothing."""
    progress, _, parts = started()
    progress.submit(parts[0])
    nonce = progress.nonce
    assert progress.submit(parts[0]) is None
    assert (progress.progress, progress.nonce) == (1, nonce)


def test_a_wrong_share_costs_the_attempt() -> None:
    """A wrong share among them gives a candidate that opens nothing; the next attempt begins afresh."""
    progress, wrapped, parts = started()
    _, _, foreign = started()
    stranger = next(part for part in foreign if part[-1] not in {given[-1] for given in parts})
    progress.submit(parts[0])
    progress.submit(stranger)
    key = progress.submit(parts[1])
    assert key is not None
    with pytest.raises(BarrierError):
        seal.unwrap_root_key(key, wrapped, seal_type="shamir")
    assert (progress.progress, progress.nonce) == (0, "")
    candidates = [progress.submit(part) for part in parts[:3]]
    assert seal.unwrap_root_key(candidates[-1] or b"", wrapped, seal_type="shamir") == ROOT


@pytest.mark.parametrize("junk", [b"", b"x", b"x" * 32, b"x" * 34, b"x" * 32 + b"\0"])
def test_what_is_no_share_leaves_progress_alone(junk: bytes) -> None:
    """Something of another shape is refused and costs nothing."""
    progress, _, parts = started()
    progress.submit(parts[0])
    nonce = progress.nonce
    with pytest.raises(InvalidRequestError):
        progress.submit(junk)
    assert (progress.progress, progress.nonce) == (1, nonce)


def test_a_share_that_contradicts_is_refused() -> None:
    """Two shares with one x cannot both be right; the second is refused and the first is kept."""
    progress, _, parts = started()
    progress.submit(parts[0])
    with pytest.raises(InvalidRequestError) as caught:
        progress.submit(bytes(32) + parts[0][-1:])
    assert caught.value.hint
    assert progress.progress == 1


def test_reset() -> None:
    """A reset forgets shares and nonce, and the next attempt has another nonce."""
    progress, _, parts = started()
    progress.submit(parts[0])
    nonce = progress.nonce
    progress.reset()
    assert (progress.progress, progress.nonce) == (0, "")
    progress.submit(parts[0])
    assert progress.nonce not in {"", nonce}


def test_a_nonce_of_another_attempt() -> None:
    """Who names a nonce takes part in that attempt or in none."""
    progress, _, parts = started()
    progress.submit(parts[0])
    with pytest.raises(InvalidRequestError):
        progress.submit(parts[1], nonce="another")
    assert progress.progress == 1
    assert progress.submit(parts[1], nonce=progress.nonce) is None
    assert progress.progress == 2


@pytest.mark.parametrize(("shares", "threshold"), [(0, 0), (5, 1), (2, 3), (256, 2)])
def test_impossible_counts(shares: int, threshold: int) -> None:
    """Every door refuses counts that cannot be."""
    for door in (UnsealProgress, RecoveryConfig.create, lambda n, t: seal.create_shamir(ROOT, n, t)):
        with pytest.raises(InvalidRequestError):
            door(shares, threshold)
    with pytest.raises(InvalidRequestError):
        SealConfig(shares=shares, threshold=threshold).check()


def test_config_is_stored_plainly() -> None:
    """A config survives storage, and one of an unknown type does not load."""
    config = SealConfig(type="static", shares=5, threshold=3, key_id="2026-11")
    config.check()
    assert msgspec.json.decode(msgspec.json.encode(config), type=SealConfig) == config
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"type": "tape"}', type=SealConfig)


@pytest.mark.parametrize(("seal_type", "key_id"), [("shamir", "a"), ("static", "b"), ("static", "")])
def test_root_key_is_bound(seal_type: seal.SealType, key_id: str) -> None:
    """A wrapped root key opens under its own seal type and key id only, though the key be right."""
    wrapped = seal.wrap_root_key(NEW[0], ROOT, seal_type="static", key_id="a")
    assert seal.unwrap_root_key(NEW[0], wrapped, seal_type="static", key_id="a") == ROOT
    with pytest.raises(BarrierError):
        seal.unwrap_root_key(NEW[0], wrapped, seal_type=seal_type, key_id=key_id)


def test_static_seal() -> None:
    """A static seal opens what it wrapped, under the key id it wrapped it with."""
    static = StaticSeal(*NEW)
    wrapped = static.wrap(ROOT)
    assert static.unwrap(wrapped, key_id="2026-11") == ROOT
    assert not static.needs_rewrap("2026-11")
    with pytest.raises(BarrierError):
        StaticSeal(OLD[0], "2026-11").unwrap(wrapped, key_id="2026-11")


def test_key_change() -> None:
    """With the previous key named, a start opens, wraps again, and does without it from then on."""
    stored, stored_id = StaticSeal(*OLD).wrap(ROOT), OLD[1]
    both = StaticSeal(*NEW, previous=OLD)
    assert both.needs_rewrap(stored_id)
    stored, stored_id = both.wrap(both.unwrap(stored, key_id=stored_id)), both.key_id
    assert not both.needs_rewrap(stored_id)
    assert StaticSeal(*NEW).unwrap(stored, key_id=stored_id) == ROOT


def test_unnamed_key_id() -> None:
    """A root key under a key id that is not configured is a matter of configuration, with a hint."""
    with pytest.raises(ConfigError) as caught:
        StaticSeal(*NEW).unwrap(StaticSeal(*OLD).wrap(ROOT), key_id=OLD[1])
    assert "previous_key" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("key", "key_id", "previous"),
    [
        (b"short", "a", None),
        (NEW[0], "", None),
        (NEW[0], "a", (OLD[0], "a")),
        (NEW[0], "a", (OLD[0], "")),
        (NEW[0], "a", (b"short", "b")),
    ],
)
def test_static_seal_is_checked(key: bytes, key_id: str, previous: tuple[bytes, str] | None) -> None:
    """Keys of another size and key ids that are missing or the same are refused, and not shown."""
    with pytest.raises(ConfigError) as caught:
        StaticSeal(key, key_id, previous)
    assert "short" not in repr(caught.value)


KEYS = st.binary(min_size=32, max_size=32)
SPACE = st.sampled_from([b"", b"\n", b"\r\n", b"  \n"])


@given(key=KEYS, before=SPACE, after=SPACE)
def test_key_files(key: bytes, before: bytes, after: bytes) -> None:
    """A key is read from 32 raw bytes, and from hex and both base64 alphabets with spaces around."""
    assert seal.parse_static_key(key) == key
    plain, urlsafe = base64.b64encode(key), base64.urlsafe_b64encode(key)
    for text in (key.hex().encode(), key.hex().upper().encode(), plain, urlsafe, plain.rstrip(b"=")):
        assert seal.parse_static_key(before + text + after) == key


@given(data=st.binary(max_size=100).filter(lambda data: len(data) != 32 and len(data.strip()) < 43))
def test_other_key_files(data: bytes) -> None:
    """Anything too short is a ConfigError, the same one for all, that says how to make a key."""
    with pytest.raises(ConfigError) as caught:
        seal.parse_static_key(data)
    assert caught.value.message == "[seal] key is not 32 bytes, raw, hex or base64"
    assert "keygen" in (caught.value.hint or "")


@pytest.mark.parametrize("data", [b"", b"0" * 31, b"z" * 64, b"A" * 42, b"=" * 44, bytes(33), bytes(64)])
def test_near_misses(data: bytes) -> None:
    """A key that is a little too short, too long or of the wrong letters is refused."""
    with pytest.raises(ConfigError):
        seal.parse_static_key(data)


def test_recovery_shares() -> None:
    """Recovery shares combine to the recovery key, nothing else does, and the config holds no key."""
    config, parts = RecoveryConfig.create(5, 3)
    key = shamir.combine(parts[1:4])
    config.require(key)
    for wrong in (shamir.combine(parts[:2]), b"", bytes(32), config.key_hash):
        with pytest.raises(InvalidRequestError):
            config.require(wrong)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=RecoveryConfig) == config
    assert key not in msgspec.msgpack.encode(config)


def test_recovery_progress() -> None:
    """Recovery shares are gathered by the same machine as key shares."""
    config, parts = RecoveryConfig.create(3, 2)
    progress = UnsealProgress(config.shares, config.threshold)
    assert progress.submit(parts[2]) is None
    config.require(progress.submit(parts[0]) or b"")


def test_nothing_is_shown() -> None:
    """Progress and static seal show counts and the key id, and are neither pickled nor copied."""
    progress, _, parts = started()
    progress.submit(parts[0])
    assert repr(progress) == "UnsealProgress(1/3 of 5)"
    static = StaticSeal(*NEW, previous=OLD)
    assert repr(static) == "StaticSeal(key_id='2026-11')"
    for secret in (progress, static):
        for leak in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                leak(secret)


def test_root_keys_are_random() -> None:
    """A root key has 32 bytes and comes once."""
    keys = {seal.generate_root_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {32}
