"""secretd: secrets that end on time."""

from __future__ import annotations

__version__ = "0.1.0"
