"""Properties of the canonical path."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretd.http.paths import MAX_PATH, RedirectError, canonical_path
from secretd.sdk.errors import InvalidRequestError, NotFoundError

ACCEPTED = (
    ("/v1/secret/data/a", "secret/data/a"),
    ("/v1/secret/metadata/", "secret/metadata/"),
    ("/v1/", ""),
    ("/v1/secret/data/a%20b", "secret/data/a b"),
    ("/v1/secret/data/h%C3%A9", "secret/data/hé"),
    ("/v1/secret/data/hé", "secret/data/hé"),
    ("/v1/secret/data/a%252eb", "secret/data/a%2eb"),  # decoded once: a literal percent sign
    ("/v1/secret/data/..a/...", "secret/data/..a/..."),
    ("/v1/secret/data/.hidden", "secret/data/.hidden"),
    ("/v1/secret/data/a?list=true&x=//..", "secret/data/a"),
    ("/v1/secret/data/a+b;c=d", "secret/data/a+b;c=d"),
    ("/v1/" + "a" * (MAX_PATH - 4), "a" * (MAX_PATH - 4)),
)
REFUSED = (
    "/v1/secret/../sys/mounts",
    "/v1/secret/./a",
    "/v1/secret/..",
    "/v1/..",
    "/v1/secret//../a",  # a redirect would wash it
    "/v1/secret/%2e%2e/a",
    "/v1/secret/%2E/a",
    "/v1/secret/.%2e/a",
    "/v1/secret/a%2fb",
    "/v1/secret/a%2Fb",
    "/v1/secret/a%5cb",
    "/v1/secret/a\\b",
    "/v1/secret/a%00",
    "/v1/secret/a%0d%0aX:%20y",
    "/v1/secret/a%7f",
    "/v1/secret/a%C2%85",  # a C1 control character
    "/v1/secret/a\x00",
    "/v1/secret/a\n",
    "/v1/secret/%c0%ae%c0%ae/a",  # overlong dots
    "/v1/secret/%e0%80%af",  # overlong slash
    "/v1/secret/%ed%a0%80",  # a surrogate
    "/v1/secret/%ff",
    "/v1/secret/\udcff",  # a raw byte as aiohttp hands it on
    "/v1/secret/%",
    "/v1/secret/%4",
    "/v1/secret/%zz",
    "/v1/secret/a#b",
    "http://host/v1/secret/a",
    "*",
    "",
    "/v1/" + "a" * (MAX_PATH - 3),
    "/v1/" + "%C3%A9" * (MAX_PATH // 2),
)
REDIRECTED = (
    ("//v1/secret/a", "/v1/secret/a"),
    ("/v1//secret///a//?x=1&y=/", "/v1/secret/a/?x=1&y=/"),
    ("/v1//secret/a%20b?", "/v1/secret/a%20b?"),
    ("//evil.example/x", "/evil.example/x"),
    ("/v1//hé", "/v1/h%C3%A9"),
)


@pytest.mark.parametrize(("target", "path"), ACCEPTED)
def test_canonical_targets_are_decoded_once(target: str, path: str) -> None:
    """A canonical target gives its path after /v1/, percent escapes decoded exactly once."""
    assert canonical_path(target) == path


@pytest.mark.parametrize("target", REFUSED)
def test_other_forms_are_refused_without_an_echo(target: str) -> None:
    """A non-canonical target is an InvalidRequestError whose message is a fixed sentence."""
    with pytest.raises(InvalidRequestError) as refusal:
        canonical_path(target)
    assert "secret" not in refusal.value.message


@pytest.mark.parametrize(("target", "location"), REDIRECTED)
def test_empty_segments_redirect_on_this_server(target: str, location: str) -> None:
    """Empty segments redirect to the clean path with its query, and never to another host."""
    with pytest.raises(RedirectError) as moved:
        canonical_path(target)
    assert moved.value.location == location


@pytest.mark.parametrize("target", ["/", "/v1", "/ui/", "/v2/secret/a"])
def test_outside_the_api_is_nothing(target: str) -> None:
    """What does not begin with /v1/ is not found."""
    with pytest.raises(NotFoundError):
        canonical_path(target)


@given(st.text("/.%abAF025cCeE\\?#é \x00", max_size=40))
def test_what_is_accepted_can_be_asked_again(tail: str) -> None:
    """Any accepted path has no empty or dot segment and, encoded again, gives itself."""
    try:
        path = canonical_path("/v1/" + tail)
    except (InvalidRequestError, RedirectError):
        return
    assert not {"", ".", ".."} & set(path.removesuffix("/").split("/")) or not path
    if not {".", "\\"} & set(path):
        assert canonical_path("/v1/" + quote(path)) == path
