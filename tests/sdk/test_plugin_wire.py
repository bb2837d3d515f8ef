"""Frames between the daemon and a plugin's child."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import DatabasePlugin, Target
from secretd.sdk.plugin_wire import MAX_FRAME, METHODS, FrameBuffer, FrameError, decoder, encode_frame


@given(st.lists(st.binary(max_size=50)), st.integers(min_value=1, max_value=20))
def test_frames_survive_any_cutting(values: list[bytes], step: int) -> None:
    """However a stream is cut, its frames come out whole and in order."""
    stream = b"".join(encode_frame(value) for value in values)
    buffer, bodies = FrameBuffer(), []
    for at in range(0, len(stream), step):
        bodies += buffer.feed(stream[at : at + step])
    assert [decoder(bytes).decode(body) for body in bodies] == values


def test_oversize_is_refused_by_its_length() -> None:
    """A length beyond the limit is refused before its body comes, and such a frame is never made."""
    with pytest.raises(FrameError):
        FrameBuffer().feed((MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(FrameError):
        encode_frame(b"x" * MAX_FRAME)


def test_secrets_cross_and_are_wrapped_again() -> None:
    """A Sensitive goes over in clear and comes out as a Sensitive."""
    (body,) = FrameBuffer().feed(encode_frame(Sensitive("x")))
    assert decoder(Sensitive).decode(body).reveal() == "x"


def test_every_method_of_the_contract_is_on_the_wire() -> None:
    """The table of methods is the protocol's, but for close: children are ended, not asked."""
    declared = {name for name, value in vars(DatabasePlugin).items() if callable(value) and name[0] != "_"}
    assert declared - {"close"} == set(METHODS)


def test_a_target_shows_no_configuration() -> None:
    """The repr of a target leaves out the part that holds a password."""
    assert "hunter2" not in repr(Target(name="n", identity="i", config={"password": "hunter2"}, shown={}))
