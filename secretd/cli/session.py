"""What a verb works with: the flags, the client behind them, and a place to show answers."""

from __future__ import annotations

import contextlib
import shlex
import sys
from typing import TYPE_CHECKING, Any, Self

import click

from secretd.cli.errors import LocalError, make_printable
from secretd.cli.output import Table, View, pairs_table, print_view
from secretd.cli.settings import make_access
from secretd.client.http import Access, Answer, Call, Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from secretd.cli.base import Flags
    from secretd.sdk.fields import Sensitive

_SHORT = 2.0  # seconds that an answer may take without a word
_TOKEN_FIELDS = {
    "token": "client_token",
    "token_accessor": "accessor",
    "token_duration": "lease_duration",
    "token_renewable": "renewable",
    "token_policies": "token_policies",
    "identity_policies": "identity_policies",
    "policies": "policies",
}
_WRAP_FIELDS = {
    "wrapping_token": "token",
    "wrapping_accessor": "accessor",
    "wrapping_token_ttl": "ttl",
    "wrapping_token_creation_time": "creation_time",
    "wrapping_token_creation_path": "creation_path",
}


class Session:
    """One command line's talk with one server. A context manager."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self._client: Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()

    @property
    def client(self) -> Client:
        """The client, made when first needed from the flags and the environment."""
        if self._client is None:
            self._client = self._make_client(self.flags.token)
        return self._client

    def act_as(self, token: Sensitive | None) -> None:
        """Send what follows with this token (a login's, a wrapping token) or, with None, with none."""
        if self._client is not None:
            self._client.close()
        self._client = self._make_client(token, is_anonymous=token is None)

    def _make_client(self, token: Sensitive | None, *, is_anonymous: bool = False) -> Client:
        flags = self.flags
        return Client(
            make_access(
                address=flags.address,
                token=token,
                ca_cert=flags.ca_cert,
                skip_verify=flags.tls_skip_verify,
                namespace=flags.namespace,
                wrap_ttl=flags.wrap_ttl,
                is_anonymous=is_anonymous,
            )
        )

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str | list[str]] | None = None,
        private: bool = False,
    ) -> Answer:
        """Send the verb's request, or with ``--output-curl`` print it and end.

        ``private`` keeps the body out of the printed command: passwords, key shares, tokens.
        Errors: those of :mod:`secretd.client.http`.
        """
        if self.flags.output_curl:
            call = self.client.prepare(method, path, body=body, query=query)
            click.echo(_as_curl(call, access=self.client.access, private=private))
            raise click.exceptions.Exit(0)
        with _patience():
            return self.client.send(method, path, body=body, query=query)

    def look(self, method: str, path: str, *, query: Mapping[str, str | list[str]] | None = None) -> Answer:
        """Ask what the verb must know before its own request; even with ``--output-curl``, never wrapped."""
        return self.client.send(method, path, query=query, wrap=False)

    def show(self, answer: Answer, view: View | None = None, *, done: str = "") -> None:
        """Show an answer: as ``view``, or as a secret; ``done`` is said when there is nothing to show.

        Warnings go to stderr. A wrapped answer is always shown as its wrapping token.
        """
        if view is None or answer.body.get("wrap_info"):
            view = secret_view(answer, done=done)
        if self.flags.format == "table":
            self._warn(answer)
        print_view(view, self.flags)

    def show_done(self, answer: Answer, sentence: str) -> None:
        """Show a success that has nothing to tell but itself; still a whole document for programs."""
        view = View(document=answer.body or None, fields=answer.data, blocks=[sentence], raw=answer.raw)
        self.show(answer, view)

    def show_rows(self, answer: Answer, document: object, table: Table) -> None:
        """Show a list or a map as one table."""
        fields = document if isinstance(document, dict) else {}
        self.show(answer, View(document=document, fields=fields, blocks=[table], raw=answer.raw))

    def tell(self, sentence: str) -> None:
        """Say something about the work on stderr, where it disturbs no pipe."""
        click.echo(make_printable(sentence), file=sys.stderr)

    def _warn(self, answer: Answer) -> None:
        warnings = answer.body.get("warnings")
        for warning in warnings if isinstance(warnings, list) else []:
            self.tell(f"Warning: {warning}")


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Tell a person at a terminal that the server is still at it, when an answer takes long."""
    if not sys.stderr.isatty():
        yield
        return
    import threading  # pipes and scripts need none

    sentence = "waiting for the server … (ctrl-C stops waiting, not the server's work)"
    timer = threading.Timer(_SHORT, click.echo, [sentence], {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def ask_hidden(label: str, *, hint: str) -> str:
    """Ask on the terminal without echo; raise LocalError with ``hint`` where there is none."""
    if not sys.stdin.isatty():
        raise LocalError(f"there is no terminal to ask on: {label}", hint=hint)
    return str(click.prompt(label, hide_input=True, err=True))


def take_secret(given: str | None, *, label: str, hint: str) -> str:
    """Return a secret argument: as given, from standard input for ``-``, or asked for without echo."""
    if given is None:
        return ask_hidden(label, hint=hint).strip()
    if given != "-":
        return given
    text = sys.stdin.read().strip()
    if not text:
        raise LocalError(f"standard input is empty: {label}", hint=hint)
    return text


def secret_view(answer: Answer, *, done: str = "") -> View:
    """Make the view of any enveloped answer: token, wrapping token, lease and data."""
    fields = envelope_fields(answer)
    blocks: list[Table | str] = [pairs_table(fields)] if fields else []
    if not blocks and done:
        blocks = [done]
    return View(document=answer.body or None, fields=fields, blocks=blocks, raw=answer.raw)


def envelope_fields(answer: Answer) -> dict[str, Any]:
    """Everything that ``--field`` may name, in the order of the table."""
    body = answer.body
    wrap, auth = body.get("wrap_info"), body.get("auth")
    if isinstance(wrap, dict):
        return {shown: wrap.get(key) for shown, key in _WRAP_FIELDS.items()}
    if isinstance(auth, dict):
        fields = {shown: auth.get(key) for shown, key in _TOKEN_FIELDS.items()}
        metadata = auth.get("metadata") or {}
        return fields | {f"token_meta_{key}": metadata[key] for key in sorted(metadata)}
    fields = {}
    if body.get("lease_id"):
        fields = {
            "lease_id": body["lease_id"],
            "lease_duration": body.get("lease_duration"),
            "lease_renewable": body.get("renewable"),
        }
    return fields | {key: answer.data[key] for key in sorted(answer.data)}


def keys_table(keys: Sequence[object]) -> Table:
    """Make the table of a LIST."""
    return Table(("Keys",), [(str(key),) for key in keys])


def _curl_flags(access: Access) -> list[str]:
    flags = ["--cacert", str(access.ca_cert)] if access.ca_cert else []
    flags += ["--insecure"] if access.skip_verify else []
    return flags + (["--unix-socket", access.socket_path] if access.socket_path else [])


def _as_curl(call: Call, *, access: Access, private: bool) -> str:
    line = shlex.join(["curl", "--request", call.method, *_curl_flags(access)])
    for name, value in call.headers.items():
        if name == "X-Vault-Token":
            line += ' --header "X-Vault-Token: $SECRETD_TOKEN"'
        else:
            line += f" --header {shlex.quote(f'{name}: {value}')}"
    if call.body is not None:
        # The body of a login or an unseal is the secret itself: let it come from standard input.
        line += " --data @-" if private else f" --data {shlex.quote(call.body.decode())}"
    return f"{line} {shlex.quote(call.url)}"
