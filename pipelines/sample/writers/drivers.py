"""Drivers that finance keeps by hand: `driver, target, weight`, and the keys that a driver has."""

from __future__ import annotations

from collections.abc import Sequence


def write(driver: str, rows: Sequence[tuple[str | int, ...]], keys: Sequence[str] = ()) -> bytes:
    """Rows of (target, weight, *keys), in the given order, under a header."""
    lines = [",".join(("driver", "target", "weight", *keys)), *(",".join(map(str, (driver, *row))) for row in rows)]
    return ("\n".join(lines) + "\n").encode()
