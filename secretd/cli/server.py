"""``secretd server`` and ``secretd migrate``: these and ``audit verify`` run daemon code."""

from __future__ import annotations

from pathlib import Path

import click

from secretd.cli.base import Verb
from secretd.cli.errors import LocalError

_DEV_ONLY = ("dev_root_token_id", "dev_listen_address", "storage", "data")


@click.command(
    "server",
    cls=Verb,
    examples="""
secretd server --dev                                       try it out: everything in a temporary folder
secretd server --dev --data ./state --dev-root-token-id root
secretd server --config /etc/secretd/secretd.toml --check  validate and end
secretd server --config /etc/secretd/secretd.toml
""",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The TOML configuration.")
@click.option("--check", is_flag=True, help="Validate the configuration and end.")
@click.option(
    "--dev", is_flag=True, help="Initialised, unsealed, no TLS, loopback only. Never for real secrets."
)
@click.option("--dev-root-token-id", metavar="ID", help="The root token of dev mode; else a random one.")
@click.option("--dev-listen-address", metavar="HOST:PORT", help="A loopback address; else 127.0.0.1:8200.")
@click.option("--storage", metavar="URL", help="Dev mode on this PostgreSQL instead of the embedded one.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Keep dev mode's database here.")
@click.pass_context
def server(
    context: click.Context,
    *,
    config: Path | None,
    check: bool,
    dev: bool,
    dev_root_token_id: str | None,
    dev_listen_address: str | None,
    storage: str | None,
    data: Path | None,
) -> int:
    """Run the daemon until it is told to stop."""
    if (config is None) == (not dev):
        raise LocalError(
            "one of --config FILE and --dev is wanted", hint="to try it out: `secretd server --dev`"
        )
    if dev and check:
        raise LocalError("--check is for --config", hint="dev mode has no configuration to check")
    given = [name for name in _DEV_ONLY if context.params.get(name) is not None]
    if given and not dev:
        option = given[0].replace("_", "-")
        raise LocalError(f"--{option} is for --dev", hint="write it into the configuration file instead")
    from secretd.server.daemon import run_server  # only the daemon pays for its imports
    from secretd.server.options import DEV_LISTEN_ADDRESS, ServerOptions, sensitive

    options = ServerOptions(
        config=config,
        is_check=check,
        dev=dev,
        dev_root_token_id=sensitive(dev_root_token_id),
        dev_listen_address=dev_listen_address or DEV_LISTEN_ADDRESS,
        storage=sensitive(storage),
        data=data,
    )
    return int(run_server(options) or 0)


@click.command(
    "migrate",
    cls=Verb,
    examples="""
secretd migrate --config /etc/secretd/secretd.toml
secretd migrate --storage postgresql://owner@db/secretd --print-sql
""",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The TOML configuration.")
@click.option("--storage", metavar="URL", help="The database, with a role that may change its schema.")
@click.option("--print-sql", is_flag=True, help="Print what would be run, and run nothing.")
def migrate(*, config: Path | None, storage: str | None, print_sql: bool) -> int:
    """Bring the database's schema up to date."""
    if (config is None) == (storage is None):
        raise LocalError("one of --config FILE and --storage URL is wanted")
    from secretd.server.daemon import run_migrate  # only the daemon pays for its imports
    from secretd.server.options import MigrateOptions, sensitive

    options = MigrateOptions(config=config, storage=sensitive(storage), print_sql=print_sql)
    return int(run_migrate(options) or 0)
