"""``secretd completion`` and ``secretd version``: nothing here talks to a server."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from secretd.cli.base import Verb

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=Verb,
    examples="""
secretd completion bash > ~/.local/share/bash-completion/completions/secretd
secretd completion zsh > ~/.zfunc/_secretd
secretd completion fish > ~/.config/fish/completions/secretd.fish
""",
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError("click knows no such shell", context)
    click.echo(kind(context.find_root().command, {}, "secretd", "_SECRETD_COMPLETE").source())


@click.command("version", cls=Verb, examples="secretd version")
def version() -> None:
    """Print this program's version; the server's is in `secretd status`."""
    from importlib.metadata import PackageNotFoundError  # 20 ms that help need not pay
    from importlib.metadata import version as find_version

    try:
        click.echo(f"secretd {find_version('secretd')}")
    except PackageNotFoundError:
        click.echo("secretd (not installed)")
