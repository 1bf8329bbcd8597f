"""Drivers that finance keeps by hand: `driver, target, weight`."""

from __future__ import annotations

from collections.abc import Mapping


def write(weights: Mapping[str, Mapping[str, int]]) -> bytes:
    """driver -> target -> weight, in the given order."""
    rows = ["driver,target,weight"]
    rows += [f"{driver},{target},{weight}" for driver, targets in weights.items() for target, weight in targets.items()]
    return ("\n".join(rows) + "\n").encode()
