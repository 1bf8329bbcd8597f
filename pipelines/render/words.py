"""Words and numbers as people read them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from pipelines.render.book import TEXT, Book
from pipelines.render.figures import ZERO, Row

MOST_POTS = 200
_SPECIAL = {
    "gpu_idle": "Idle GPUs", "@allocated": "cost carried so far", "query": "Vector queries", "platform": "Platform overhead",
    "index_maintenance": "Index upkeep", "index_queries": "searches of the index", "index_writes": "writes to the index",
    "weighted_tokens": "weighted tokens", "metered_tokens": "metered tokens", "metered_cost": "metered cost",
    "reserved_gpu_seconds": "GPU-seconds reserved", "commitment_idle": "Unused commitment",
}  # fmt: skip


def plain(name: str | None) -> str | None:
    """`index_maintenance` -> `Index upkeep`, `training` -> `Training`."""
    if not name:
        return None
    return _SPECIAL.get(name) or name.replace("_", " ").replace("-", " ").capitalize()


def unit(name: str | None) -> tuple[int, str | None]:
    """How a unit is shown, so that a rate is never 0.0000: (how many make one, its name)."""
    low = (name or "").lower()
    if low == "tokens":
        return 1_000_000, "1M tokens"
    if low in ("queries", "requests"):
        return 1_000, f"1K {low}"
    return 1, name


def half_up(amount: Decimal) -> Decimal:
    """Whole cents, as Excel's ROUND makes them."""
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def readable_pots(pots: list[Row]) -> list[Row]:
    """The pots one by one or, where there are very many, summed per rule and driver (then without units)."""
    if len(pots) <= MOST_POTS:
        return pots
    merged: dict[tuple[Any, ...], Row] = {}
    for pot in pots:
        key = (pot["cost_pool"], pot["rule_id"], pot["part"], pot["driver"], pot["billing_currency"])
        if key not in merged:
            merged[key] = {**pot, "service": None, "units": None, "driver_total": None, "pool_cost": ZERO, "amount": ZERO}
        one = merged[key]
        one["pool_cost"] += pot["pool_cost"]
        one["amount"] += pot["amount"]
        one["first_day"], one["last_day"] = min(one["first_day"], pot["first_day"]), max(one["last_day"], pot["last_day"])
    return list(merged.values())


def change(now: Decimal, before: Decimal) -> str:
    """The change against the month before, in words; no percentage of nothing."""
    if now == before:
        return "as the month before"
    if before <= 0:
        return "new this month" if before == 0 else f"{now - before:+,.2f} against the month before"
    share = abs(now - before) * 100 / before
    return f"{share:,.1f}% {'above' if now > before else 'below'} the month before"


def paragraph(book: Book, ws: Any, row: int, first: int, last: int, text: str, width: float, look: Any = None) -> None:
    """Wrapped text over merged columns; `width` in characters, the row grows with the text."""
    from dataclasses import replace

    ws.merge_cells(start_row=row, end_row=row, start_column=first, end_column=last)
    book.put(ws, row, first, text, replace(look or TEXT, wrap=True, valign="top"))
    ws.row_dimensions[row].height = 14.5 * max(1, -(-len(text) // max(1, int(width * 1.05)))) + 2
