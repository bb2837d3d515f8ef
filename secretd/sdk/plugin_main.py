"""A plugin's process: fences itself in, then imports the plugin and answers calls. Run by the supervisor.

1. Read the hello from the pipe whose number is the only argument (nothing is told by argv or environment).
2. Fences, before any code of the plugin runs: umask, limits, user, no_new_privs, death with the parent.
3. Import the plugin; say ready, or the class of what went wrong.
4. Answer calls until the pipe ends; then exit without asking anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from secretd.sdk.errors import PluginError
from secretd.sdk.plugin import SDK_VERSION, DatabasePlugin, Plugin
from secretd.sdk.plugin_wire import (
    ERRORS,
    MAX_MESSAGE,
    METHODS,
    PULSE,
    UNEXPECTED,
    Call,
    FrameBuffer,
    FrameError,
    Hello,
    Limits,
    Ready,
    decoder,
    encode_frame,
)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION = 0x20080522  # the third, with two words of each set
_CLOSE_GRACE = 1.0  # seconds for connections to be given back


def main() -> None:
    """Serve one plugin over the pipe named in argv; never returns to an importing caller's state."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.setblocking(True)  # the parent's end is not: the flag belongs to the description
    hello = _read_hello(channel)
    fence(hello)
    try:
        plugin = _load(hello)
    except BaseException as error:  # SystemExit included: the parent must hear why
        channel.sendall(encode_frame(Ready(error=type(error).__name__)))
        return
    loop_factory = _attribute(hello.loop) if hello.loop else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(channel, plugin, hello))
    os._exit(0)  # a thread of the plugin must not keep us


def fence(hello: Hello) -> None:
    """Apply every limit to this process. Raises OSError rather than run without one."""
    os.umask(0o077)
    _limit(hello.limits, hello.user)
    if hello.user:
        _become(hello.user)
    _drop_capabilities()  # root's child would read root's memory otherwise, dumpable or not
    parent = os.getppid()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # last: a change of user clears it
    if os.getppid() != parent:  # the daemon died before the line above took hold
        os._exit(1)


def _limit(limits: Limits, user: str) -> None:
    pairs = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_NOFILE, limits.files),
        # The kernel counts all processes of the user: one that is shared with the daemon has some already.
        (resource.RLIMIT_NPROC, limits.processes + (0 if user else _threads_of(os.getuid()))),
    )
    for kind, wanted in pairs:
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def _threads_of(uid: int) -> int:
    """Return how many threads that user runs now."""
    count = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if process.stat().st_uid == uid:
                    count += len(os.listdir(process / "task"))
    return count


def _become(user: str) -> None:
    import pwd

    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def _drop_capabilities() -> None:
    """Give every capability up; files of our user's are still ours."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _read_hello(channel: socket.socket) -> Hello:
    buffer = FrameBuffer()
    while True:
        data = channel.recv(65536)
        if not data:
            raise SystemExit(1)
        for body in buffer.feed(data):  # the daemon sends nothing more before we are ready
            return cast("Hello", decoder(Hello).decode(body))


def _attribute(entry: str) -> Any:
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)


def _load(hello: Hello) -> Plugin:
    if hello.folder and hello.folder not in sys.path:
        sys.path.append(hello.folder)  # at the end: it shadows nothing
    plugin = _attribute(hello.entry)
    if not isinstance(plugin, Plugin):
        raise TypeError("not a Plugin")
    return plugin


async def _serve(channel: socket.socket, plugin: Plugin, hello: Hello) -> None:
    channel.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        server = _Server(plugin.factory(hello.reach), tasks)
        await loop.create_connection(lambda: server, sock=channel)
        server.write(encode_frame(Ready(type=plugin.type, sdk=SDK_VERSION, contract=plugin.contract)))
        await server.closed.wait()
        server.cancel_all()
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_GRACE):
            await server.plugin.close()


class _Server(asyncio.Protocol):
    """Calls in, replies out, one task a call."""

    def __init__(self, plugin: DatabasePlugin, tasks: asyncio.TaskGroup) -> None:
        self.plugin = plugin
        self.closed = asyncio.Event()
        self._tasks = tasks
        self._running: dict[int, asyncio.Task[None]] = {}
        self._buffer = FrameBuffer()
        self._transport: asyncio.WriteTransport | None = None
        self._call_decoder = decoder(Call)
        self._decoders = {name: decoder(types[0]) for name, types in METHODS.items()}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        try:
            calls = [self._call_decoder.decode(body) for body in self._buffer.feed(data)]
        except (FrameError, msgspec.DecodeError):
            os._exit(1)  # the daemon does not speak to us any more
        for call in calls:
            self._begin(call)

    def _begin(self, call: Call) -> None:
        running = self._running.get(call.id)
        if not call.method:
            if running is not None:
                running.cancel()
            return
        if call.method == PULSE:
            self.write(encode_frame((call.id, "", "", "", None)))
            return
        task = self._tasks.create_task(self._answer(call))
        self._running[call.id] = task

    async def _answer(self, call: Call) -> None:
        try:
            frame = encode_frame(await self._perform(call))
        except FrameError:
            frame = encode_frame(_refusal(call.id, PluginError("the plugin's answer is too large")))
        except Exception:  # an answer that no decoder of the daemon's could read
            frame = encode_frame(_refusal(call.id, PluginError("the plugin's answer cannot be sent")))
        finally:
            self._running.pop(call.id, None)
        self.write(frame)

    async def _perform(self, call: Call) -> tuple[Any, ...]:
        """Return the reply as a tuple in the order of :class:`Reply`'s fields."""
        try:
            args = self._decoders[call.method].decode(call.args)
            method: Callable[..., Any] = getattr(self.plugin, call.method)
            async with asyncio.timeout(call.timeout):
                body = await method(*args)
        except Exception as error:
            return _refusal(call.id, error)
        return (call.id, "", "", "", body)

    def write(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def cancel_all(self) -> None:
        for task in self._running.values():
            task.cancel()


def _refusal(call_id: int, error: Exception) -> tuple[Any, ...]:
    """Name an error of the contract; of any other only the class leaves this process."""
    for kind in type(error).__mro__:
        if ERRORS.get(kind.__name__) is kind:
            hint = getattr(error, "hint", None) or ""
            return (call_id, kind.__name__, str(error)[:MAX_MESSAGE], hint[:MAX_MESSAGE], None)
    if isinstance(error, TimeoutError):
        return (call_id, "TargetUnavailableError", "the target did not answer in time", "", None)
    return (call_id, UNEXPECTED, f"the plugin failed: {type(error).__name__}"[:MAX_MESSAGE], "", None)


if __name__ == "__main__":
    main()
