"""The daemon's life: configuration, storage, core, listeners, signals, and the way down.

Start: 1. the process is hardened 2. storage is reached and migrated 3. the core is composed 4. an empty store
is initialised if the configuration says so; a static seal opens 5. listeners open 6. the scheduler ticks.
Stop (SIGTERM): listeners drain, target work is abandoned (its rows are due), everything within five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import structlog
import uvloop

from secretd import __version__
from secretd.core.faults import Faults, NoFaults
from secretd.core.parts import About, Parts
from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.orphans import harden_daemon
from secretd.core.plugins.supervisor import PluginSupervisor
from secretd.http.app import App
from secretd.scheduler.jobs import JOBS
from secretd.scheduler.runner import Scheduler
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import ConfigError, SecretdError
from secretd.server import first_start
from secretd.server.build import Core, Settings, compose
from secretd.server.config import (
    dev_config,
    environment,
    load_config,
    load_storage,
    parse_storage,
    static_seal,
)
from secretd.server.config_checks import require_plugin_user
from secretd.server.config_schema import Config, Storage
from secretd.server.embedded import EmbeddedPostgres
from secretd.server.listeners import Listeners, require_tls_files
from secretd.server.logging import configure_logging, set_level
from secretd.server.notify import notify
from secretd.server.options import MigrateOptions, ServerOptions
from secretd.storage.migrate import migrate, pending, print_sql, require_migrated
from secretd.storage.pool import Pool
from secretd.system.metrics import Scrape

log = structlog.get_logger()
T = TypeVar("T")
_SHORT_RETRY = 5.0  # seconds
API_LEVEL = "1.16.3"  # what clients of Vault gate on; our own version is build metadata


def run_server(options: ServerOptions) -> int:
    """``secretd server``: run until a signal. Raises SecretdError if it cannot start."""
    config = dev_config(options) if options.dev else load_config(_path(options.config))
    require_plugin_user(config, is_root=os.geteuid() == 0)
    if options.is_check:
        for listener in config.listeners:
            require_tls_files(listener)
        sys.stdout.write("the configuration is valid\n")
        return 0
    os.umask(0o077)
    configure_logging(level=config.log.level, format=config.log.format)
    if config.plugins.user == "root":
        log.warning("plugins.run_as_root", hint="a plugin's child could read the daemon's memory")
    for warning in config.warnings:
        log.warning("config.warning", reason=warning)
    reread = None if options.config is None else lambda: load_config(_path(options.config))
    return uvloop.run(_until_signal(config, options, reread))


def run_migrate(options: MigrateOptions) -> int:
    """``secretd migrate``: bring the schema up to date, or print the SQL that would."""
    storage = load_storage(options.config) if options.config else parse_storage(_need(options.storage))
    sys.stdout.write(asyncio.run(_migrate(storage, is_print=options.print_sql)))
    return 0


async def _migrate(storage: Storage, *, is_print: bool) -> str:
    """What to tell: the names that were applied, or the SQL of what is pending. A person waits: no long retries."""
    async with (
        _database(storage) as url,
        Pool.open(url, size=1, connect_retry=_SHORT_RETRY, pgbouncer=storage.pgbouncer) as pool,
    ):
        if is_print:
            wanted = await pending(pool)
            return print_sql(wanted) if wanted else "-- the schema is up to date\n"
        applied = await migrate(pool)
    return "".join(f"applied {name}\n" for name in applied) or "the schema is up to date\n"


async def _until_signal(config: Config, options: ServerOptions, reread: Callable[[], Config] | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(config, faults=NoFaults(), options=options) as daemon:
        if reread is not None:
            loop.add_signal_handler(signal.SIGHUP, lambda: daemon.reload(reread))
        notify("READY=1", environ=environment())
        await stop.wait()
        log.info("server.stopping")
        notify("STOPPING=1", environ=environment())
    return 0


class Daemon:
    """A running daemon."""

    def __init__(self, core: Core, listeners: Listeners) -> None:
        self.core = core
        self._listeners = listeners

    @property
    def parts(self) -> Parts:
        """The core's parts."""
        return self.core.parts

    def reload(self, reread: Callable[[], Config]) -> None:
        """SIGHUP: TLS files, log level, audit files. A bad configuration changes nothing."""
        try:
            config = reread()
        except ConfigError as error:
            log.error("config.reload_refused", reason=error.message)
            return
        set_level(config.log.level)
        self._listeners.reload()
        self.core.parts.audit.reopen()


@contextlib.asynccontextmanager
async def serve(
    config: Config, *, faults: Faults, options: ServerOptions | None = None
) -> AsyncIterator[Daemon]:
    """Run a daemon until the block ends."""
    harden_daemon()  # (1)
    catalog = PluginCatalog(allow=config.plugins.allow, pins=config.plugins.pins)
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_storage(config.storage))  # (2)
        supervisor = await stack.enter_async_context(
            PluginSupervisor(catalog, reach=config.targets.reach(), user=config.plugins.user)
        )
        settings = await _settings(config, pool)
        core = await stack.enter_async_context(
            compose(settings, pool, plugins=supervisor, clock=SystemClock(), faults=faults)
        )  # (3)
        await stack.enter_async_context(_revoking(core.parts))
        app = App(
            core.pipeline,
            deadline=float(config.api.request_deadline),
            max_body=config.api.max_request_bytes,
            is_dev=config.is_dev,
            meter=core.parts.metrics,
        )
        listeners = await stack.enter_async_context(
            Listeners(config.listeners, app, Scrape(core.parts).render)
        )
        await _first_start(config, core, options)  # (4)
        await listeners.open()  # (5)
        await stack.enter_async_context(Scheduler(core.parts, JOBS))  # (6)
        yield Daemon(core, listeners)


async def _first_start(config: Config, core: Core, options: ServerOptions | None) -> None:
    if options is not None and options.dev:
        await first_start.open_dev(core, options, address=config.api.address)
        return
    if config.seal.is_auto_init:
        await first_start.initialise(core, _need(config.seal.root_token_file))
    await core.parts.lifecycle.open_static()


@contextlib.asynccontextmanager
async def _revoking(parts: Parts) -> AsyncIterator[None]:
    """The revoker at work. Should it ever end by an error, so does the daemon: leases must not live on unseen."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(parts.revoker.serve())
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[
            0
        ] from None  # the first is the cause; a start's own error comes through as it is


@contextlib.asynccontextmanager
async def open_storage(storage: Storage) -> AsyncIterator[Pool]:
    """The pool on a migrated database; an embedded server runs for as long."""
    async with (
        _database(storage) as url,
        Pool.open(
            url,
            size=storage.pool_size,
            connect_retry=float(storage.connect_retry),
            pgbouncer=storage.pgbouncer,
        ) as pool,
    ):
        if storage.migrate == "auto":
            for name in await migrate(pool):
                log.info("storage.migrated", migration=name)
        else:
            await require_migrated(pool)
        yield pool


@contextlib.asynccontextmanager
async def _database(storage: Storage) -> AsyncIterator[str]:
    if not storage.is_embedded:
        yield storage.url.reveal()
        return
    with contextlib.ExitStack() as stack:
        folder = storage.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secretd-")))
        async with EmbeddedPostgres(folder) as postgres:
            yield postgres.dsn()


async def _settings(config: Config, pool: Pool) -> Settings:
    row = await pool.fetchrow("get_installation")
    if row is None:
        raise SecretdError
    about = About(
        version=f"{API_LEVEL}+secretd.{__version__}",
        build_date="2026-11-23T00:00:00Z",
        node=f"{socket.gethostname()}/{config.listeners[0].address}",
        api_address=config.api.address,
        cluster_id=str(row["id"]),
        request_deadline=float(config.api.request_deadline),
    )
    return Settings(
        about=about,
        default_ttl=int(config.api.default_lease_ttl),
        max_ttl=int(config.api.max_lease_ttl),
        workers=config.scheduler.workers,
        static_seal=static_seal(config),
        audit_devices=config.audit,
        audit_api_folder=str(config.api.audit_api_dir or ""),
    )


def _path(path: Path | None) -> Path:
    if path is None:
        raise ConfigError("no configuration is named", hint="secretd server --config FILE, or --dev")
    return path


def _need(value: T | None) -> T:
    if value is None:
        raise ConfigError
    return value
