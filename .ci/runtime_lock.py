"""Print the part of requirements.lock that running secretd needs, hashes kept: what the image installs.

It starts from the packages that pyproject.toml names (with the extra ``embedded``) and follows the requirements
of the installed distributions, so it runs in the environment made from that very lock file.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

NAME = re.compile(r"^[A-Za-z0-9._-]+")


def canonical(name: str) -> str:
    """One spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """The distribution that a requirement names."""
    found = NAME.match(requirement)
    if found is None:
        sys.exit(f"no name in the requirement {requirement!r}")
    return canonical(found.group())


def closure(names: set[str]) -> set[str]:
    """These distributions and all that they need here, without optional extras."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # not for this platform
        waiting += [name_of(line) for line in needed if "extra ==" not in line]
    return seen


def main() -> None:
    """Copy the wanted blocks of the lock file: a line with ``==`` and the hashes that follow it."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = closure(
        {name_of(line) for line in project["dependencies"] + project["optional-dependencies"]["embedded"]}
    )
    keep = False
    for line in Path("requirements.lock").read_text().splitlines():
        if not line.startswith(" "):
            keep = name_of(line) in wanted
        if keep:
            print(line)


if __name__ == "__main__":
    main()
