"""The shape of every verb: common flags anywhere on the line, Go's flag spelling, examples in the help.

:class:`Verb` and :class:`VerbGroup` add the common flags to each command, so they work before and
after the sub-command. :class:`VerbGroup` imports a sub-command's module when it is asked for and not
before: ``secretd --help`` shows twenty verbs and imports none of them.
"""

from __future__ import annotations

import dataclasses
import importlib
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from secretd.cli.argv import Spelling, normalise
from secretd.sdk.fields import Sensitive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


FORMATS = ("table", "json", "yaml", "raw")
_SETTINGS = {"help_option_names": ["--help", "-h"], "max_content_width": 110}


@dataclasses.dataclass
class Flags:
    """The common flags as given, None where they were not. One object for the whole command line."""

    format: str = "table"
    field: str | None = None
    address: str | None = None
    token: Sensitive | None = dataclasses.field(default=None, repr=False)
    ca_cert: Path | None = None
    tls_skip_verify: bool | None = None
    namespace: str | None = None
    wrap_ttl: str | None = None
    output_curl: bool = False


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    flags = context.ensure_object(Flags)
    if value is None or value is False or parameter.name is None:
        return
    setattr(flags, parameter.name, Sensitive(value) if parameter.name == "token" else value)


def _common(*, hidden: bool) -> list[click.Parameter]:
    def option(*names: str, **settings: Any) -> click.Option:
        return click.Option(
            names, expose_value=False, callback=_keep, hidden=hidden, default=None, **settings
        )

    return [
        option("--format", type=click.Choice(FORMATS), help="How to print the answer; table if not given."),
        option("--field", metavar="NAME", help="Print this field of the answer and nothing else."),
        option("--address", metavar="URL", help="The server; else SECRETD_ADDR, VAULT_ADDR, BAO_ADDR."),
        option("--token", metavar="TOKEN", help="Discouraged, others can see it; prefer SECRETD_TOKEN."),
        option("--ca-cert", type=click.Path(path_type=Path), help="PEM file of the server's CA."),
        option("--tls-skip-verify", is_flag=True, help="Trust any certificate. Never in production."),
        option("--namespace", "--ns", metavar="PATH", help="Vault's namespace."),
        option("--wrap-ttl", metavar="DURATION", help="Have the answer wrapped for one use."),
        option("--output-curl", "--output-curl-string", is_flag=True, help="Print the request as curl."),
    ]


class _Vaultlike(click.Command):
    """Common flags, Go's spelling and examples, for commands and groups alike."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", dict(_SETTINGS))
        super().__init__(*args, **kwargs)
        self.examples = [line for line in examples.strip().splitlines() if line.strip()]
        self.shows_common = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the common flags, hidden but on the top command."""
        own = super().get_params(ctx)
        taken = {name for param in own for name in param.opts}
        common = _common(hidden=not self.shows_common)
        return own + [param for param in common if not taken.intersection(param.opts)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite Go's spelling before click parses."""
        interspersed = ctx.allow_interspersed_args
        try:
            return super().parse_args(ctx, normalise(args, self._spellings(ctx), interspersed=interspersed))
        except click.UsageError as error:
            # click's parser does not say whose option lacks its value, and then nobody can say what to type next.
            error.ctx = error.ctx or ctx
            raise

    def _spellings(self, ctx: click.Context) -> dict[str, Spelling]:
        known: dict[str, Spelling] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option):
                opposite = param.secondary_opts[0] if param.secondary_opts else ""
                for name in param.opts:
                    known[name] = Spelling(not (param.is_flag or param.count), opposite)
                for name in param.secondary_opts:
                    known[name] = Spelling(takes_value=False)
        return known

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are, and where the common flags are explained."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        if not self.shows_common:
            formatter.write_paragraph()
            formatter.write_text("Common flags (--format, --field, --address …) are in `secretd --help`.")


class Verb(_Vaultlike):
    """A command that does something."""


class VerbGroup(_Vaultlike, click.Group):
    """A family of verbs. ``lazy`` maps a verb to ``module:attribute`` and its line in the help."""

    command_class = Verb

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs by name, in the order of their table."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a verb and import its module if it has not been."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is no command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that the line names; a slip of the finger is told the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of verbs without importing any."""
        rows = [(name, line) for name, (_, line) in self._lazy.items()]
        for name in super().list_commands(ctx):
            command = self.commands[name]
            if not command.hidden:
                rows.append((name, command.get_short_help_str(limit=80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer verbs and options, again without importing a verb's module."""
        lazy = [
            CompletionItem(name, help=line)
            for name, (_, line) in self._lazy.items()
            if name.startswith(incomplete)
        ]
        own = [
            CompletionItem(name, help=command.get_short_help_str())
            for name, command in sorted(self.commands.items())
            if name.startswith(incomplete) and not command.hidden
        ]
        return lazy + own + click.Command.shell_complete(self, ctx, incomplete)


def pass_session(function: Callable[..., None]) -> Callable[..., None]:
    """Give a verb its :class:`~secretd.cli.session.Session`, closed when the verb is done."""

    def run(*args: Any, **kwargs: Any) -> None:
        from secretd.cli.session import Session  # help needs no HTTP client

        with Session(click.get_current_context().ensure_object(Flags)) as session:
            function(session, *args, **kwargs)

    return update_wrapper(run, function)
