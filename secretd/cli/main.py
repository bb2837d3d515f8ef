"""The console script ``secretd``: the table of verbs, and the one place where failures become exit codes."""

from __future__ import annotations

import os
import sys

import click

from secretd.cli.base import VerbGroup
from secretd.sdk.errors import SecretdError

_VERBS = {
    "status": ("secretd.cli.status:status", "Show whether the server is initialised and unsealed."),
    "login": ("secretd.cli.login:login", "Log in and keep the token for later commands."),
    "read": ("secretd.cli.data:read", "Read what is at a path; a dynamic secret is made by reading."),
    "write": ("secretd.cli.data:write", "Write data to a path."),
    "patch": ("secretd.cli.data:patch", "Change some of the data at a path."),
    "list": ("secretd.cli.data:list_", "List the names under a path."),
    "delete": ("secretd.cli.data:delete", "Delete what is at a path."),
    "kv": ("secretd.cli.kv:kv", "Keep static secrets, with versions."),
    "secrets": ("secretd.cli.mounts:secrets_group", "Enable, disable, list, tune and move secret engines."),
    "auth": ("secretd.cli.mounts:auth_group", "Enable, disable, list, tune and move auth methods."),
    "policy": ("secretd.cli.policy:policy", "Write, read, list and delete ACL policies."),
    "token": ("secretd.cli.token:token", "Create, look up, renew and revoke tokens."),
    "lease": ("secretd.cli.lease:lease", "Look up, renew, revoke, list and count leases."),
    "audit": ("secretd.cli.audit:audit", "Enable, disable and list audit devices; verify an audit file."),
    "operator": ("secretd.cli.operator:operator", "Initialise, unseal, seal and rotate."),
    "unwrap": ("secretd.cli.data:unwrap", "Open a wrapped answer, once."),
    "path-help": ("secretd.cli.data:path_help", "Explain a path of the API."),
    "plugin": ("secretd.cli.plugin:plugin", "List and inspect the plugins installed here."),
    "server": ("secretd.cli.server:server", "Run the daemon."),
    "migrate": ("secretd.cli.server:migrate", "Bring the database's schema up to date."),
    "completion": ("secretd.cli.completion:completion", "Print the completion script of a shell."),
    "version": ("secretd.cli.completion:version", "Print this program's version."),
}
_EXAMPLES = """
secretd server --dev                              try it out
secretd login                                     keep a token, asked for without echo
secretd kv put secret/app/db user=app password=@pw.txt
secretd read database/creds/app                   lease a login
secretd lease revoke database/creds/app/…         end it now
"""


@click.group(cls=VerbGroup, lazy=_VERBS, examples=_EXAMPLES)
def cli() -> None:
    """Keep secrets, and lease logins that end on time."""


cli.shows_common = True


def run(args: list[str] | None = None) -> int:
    """Carry out one command line and return its exit code; nothing but a bug escapes as an exception."""
    try:
        # click calls a verb's Exit(n) its return value, and a verb returns None.
        code = cli.main(args=args, prog_name="secretd", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        return 1
    except (SecretdError, click.ClickException) as error:
        from secretd.cli.errors import report  # success needs no HTTP errors

        return report(error)
    except BrokenPipeError:
        # The reader left, as `head` does; Python's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        from secretd.cli.errors import LocalError, report

        return report(LocalError(f"the system refused: {error.strerror or type(error).__name__}"))
    except click.Abort:
        click.echo("interrupted", err=True)
        return 1


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
