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


def visits(flows: Mapping[str, Mapping[Key, Fraction]]) -> dict[str, dict[str, Fraction]]:
    """How much passes through each center of one unit that arrives at a center: `visits(flows)[arrived][through]`.

    More than one where it comes back. `flows` and ValueError as for `reciprocal`.
    """
    marks = {("through", center): center for center in flows}
    marked = {
        center: {**{other: share for other, share in out.items() if other in flows}, ("through", center): Fraction(1)}
        for center, out in flows.items()
    }
    return {center: {marks[mark]: passed for mark, passed in ends.items()} for center, ends in reciprocal(marked).items()}


def whole_flows(ends: Sequence[tuple[Hashable, Hashable]], amounts: Sequence[int], unit: int) -> list[int]:
    """`amounts`, in units of which `unit` make one, each rounded to one of its two whole neighbours.

    `ends` say from where to where each flows. Where inflow less outflow was a whole number, it stays the same. Rounds
    along circles of flows that are not whole yet: what one end gains another loses.
    """
    whole = [amount // unit for amount in amounts]
    left = {flow: amount % unit for flow, amount in enumerate(amounts) if amount % unit}
    at: dict[Hashable, list[int]] = {}
    for flow in left:
        for node in ends[flow]:
            at.setdefault(node, []).append(flow)
    while left:
        circle = _circle(ends, at, left)
        up = min(unit - left[flow] if forward else left[flow] for flow, forward in circle)
        down = min(left[flow] if forward else unit - left[flow] for flow, forward in circle)
        step = up if up <= down else -down
        for flow, forward in circle:
            left[flow] += step if forward else -step
            if left[flow] in (0, unit):
                whole[flow] += left.pop(flow) // unit
    return whole


def _circle(ends: Sequence[tuple[Hashable, Hashable]], at: Mapping[Hashable, list[int]], left: Mapping[int, int]) -> list[tuple[int, bool]]:
    """Flows of `left` that make a circle, each with whether it is walked from its first to its second end."""
    last = next(iter(left))
    node = ends[last][1]
    seen, path = {ends[last][0]: 0, node: 1}, [(last, True)]
    while True:
        last = next(flow for flow in at[node] if flow in left and flow != last)
        forward = ends[last][0] == node
        path.append((last, forward))
        node = ends[last][forward]
        if node in seen:
            return path[seen[node] :]
        seen[node] = len(path)
