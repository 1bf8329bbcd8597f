"""Exact splitting: largest remainder over whole units, and mutual services of support teams. No floats, no database."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def integers(weights: Sequence[Fraction | int]) -> list[int]:
    """The smallest whole numbers in the same proportions."""
    scale = lcm(*(Fraction(w).denominator for w in weights))
    whole = [int(w * scale) for w in weights]
    divisor = gcd(*whole) or 1
    return [w // divisor for w in whole]


def split(amount_pico: int, weights: Sequence[Fraction | int], keys: Sequence) -> list[int]:
    """`amount_pico` units over `weights`: parts in the order given, that add up to it exactly.

    Each part is its exact share rounded to one of its two neighbours; the units left over go to the largest
    remainders, equal ones in the order of `keys`. A negative amount is the mirror image of the positive one.
    ValueError if a weight is negative or all are zero.
    """
    whole = weights if all(type(w) is int for w in weights) else integers(weights)
    total = sum(whole)
    if total <= 0 or min(whole) < 0:
        raise ValueError("weights must not be negative, and not all zero")
    cuts = [divmod(abs(amount_pico) * w, total) for w in whole]
    parts = [quotient for quotient, _ in cuts]
    left = abs(amount_pico) - sum(parts)
    for i in sorted(range(len(parts)), key=lambda i: (-cuts[i][1], keys[i]))[:left]:
        parts[i] += 1
    return parts if amount_pico >= 0 else [-part for part in parts]


def capped(
    shares: Mapping[Key, Fraction], limits: Mapping[Key, Fraction], exempt: Key
) -> tuple[dict[Key, Fraction], Fraction]:
    """`shares`, none above its limit (without one: 0) except that of `exempt`; and the sum of what was over."""
    kept = {key: share if key == exempt else min(share, limits.get(key, Fraction(0))) for key, share in shares.items()}
    return kept, sum(shares.values(), Fraction(0)) - sum(kept.values(), Fraction(0))


def without_exit(flows: Mapping[str, Mapping[Key, Fraction]]) -> set[str]:
    """The centers from which nothing ever reaches an owner; `flows` as for `reciprocal`."""
    stuck = set(flows)
    while out := {center for center in stuck if any(share and to not in stuck for to, share in flows[center].items())}:
        stuck -= out
    return stuck


def reciprocal(flows: Mapping[str, Mapping[Key, Fraction]]) -> dict[str, dict[Key, Fraction]]:
    """What each center's cost ends up as, once centers that serve each other have passed everything on.

    `flows[center]` are its exact shares, which add up to 1, to owners and to other centers (by name). Solves
    (I - P) x = F by Gaussian elimination. ValueError if some centers have no way out to an owner.
    """
    centers = list(flows)
    rows = [
        (
            [Fraction(i == j) - flows[center].get(other, Fraction(0)) for j, other in enumerate(centers)],
            {key: share for key, share in flows[center].items() if key not in flows},
        )
        for i, center in enumerate(centers)
    ]
    for column in range(len(centers)):
        pivot = next((r for r in range(column, len(rows)) if rows[r][0][column]), None)
        if pivot is None:
            raise ValueError("some centers have no way out")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        left, right = rows[column]
        rows[column] = ([x / left[column] for x in left], {key: x / left[column] for key, x in right.items()})
        for r, (other_left, other_right) in enumerate(rows):
            factor = other_left[column]
            if r != column and factor:
                left, right = rows[column]
                summed = dict(other_right)
                for key, x in right.items():
                    summed[key] = summed.get(key, Fraction(0)) - factor * x
                rows[r] = ([a - factor * b for a, b in zip(other_left, left, strict=True)], summed)
    return {
        center: {key: share for key, share in right.items() if share}
        for center, (_, right) in zip(centers, rows, strict=True)
    }
