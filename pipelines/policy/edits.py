"""What an edit of the policy says about a month that was closed under another one: reported, and applied only on reopen."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from typing import Any

from pipelines.policy import Period, Policy
from pipelines.policy.tables import COLUMNS, rows_of

# The tables that decide who carries what, by the file they are written in. Without dates an entry holds in every month.
FILES = {
    "teams": ("team_cost_centers", "team_modes", "belongs", "projects", "vector_indexes", "serving_pools", "token_weights"),
    "sources": ("billing_scope", "activities", "serving_namespaces", "serving_models", "gateway_accounts", "gateway_serving"),
    "contracts": ("discounts", "private_prices", "volume_tiers", "contracts", "contract_covers", "throughput", "monthly", "gpu_capacity"),
    "rate_card": ("rate_card", "team_rates", "gpu_equivalents"),
}
PLACES = ("ord", "entry")  # columns that say where an entry stands in its file, not what it says
NAMED = 3  # words of an entry that name it


@dataclass(frozen=True)
class Edit:
    """How many entries of one file are not, in a closed month, what it was closed with; and the first of them."""

    file: str
    entries: int
    example: str


def edits(closed: Policy, today: Policy, period: Period) -> Iterator[Edit]:
    """One edit per file that differs within the period's days, in the order of the files."""
    then, now = dict(_said(closed, period)), dict(_said(today, period))
    for file in (*FILES, "allocation"):
        gone, new = then[file] - now[file], now[file] - then[file]
        if gone or new:
            first = min(gone | new, key=str)
            yield Edit(f"{file}.yaml", max(len(gone), len(new)), " ".join(str(word) for word in first[: NAMED + 1] if word is not None))


def _said(policy: Policy, period: Period) -> Iterator[tuple[str, set[tuple[Hashable, ...]]]]:
    """File -> what it says about the days of the period, one tuple per entry: what kind it is, then its words."""
    tables = rows_of(policy)
    for file, names in FILES.items():
        yield file, {(name.rstrip("s").replace("_", " "), *entry) for name in names for entry in _entries(name, tables[name], period)}
    allocation = policy.allocation
    found: set[tuple[Hashable, ...]] = {("pool", n, _bare(pool, period)) for n, pool in enumerate(allocation.pools)}
    found |= {("rule", rule.id, _bare(rule, period)) for rule in allocation.rules if rule.overlaps(period.start, period.end)}
    found.add(("support teams", allocation.support_teams, allocation.cycles, allocation.order))
    yield "allocation", found


def _entries(table: str, rows: list[tuple[Any, ...]], period: Period) -> Iterator[tuple[Hashable, ...]]:
    names = [column.split()[0] for column in re.split(r", (?=[a-z])", COLUMNS[table])]
    for row in rows:
        entry = dict(zip(names, row, strict=True))
        if "valid_from" in entry:
            entry["valid_from"] = max(entry["valid_from"], period.start)
            entry["valid_to"] = min(entry["valid_to"], period.end)
            if entry["valid_from"] >= entry["valid_to"]:
                continue
        yield tuple(None if value is None else str(value) for name, value in entry.items() if name not in PLACES)


def _bare(value: Any, period: Period) -> Hashable:
    """A rule as it holds in the period: without the lines of its file, its dates within the period's."""
    if is_dataclass(value):
        return tuple((field.name, _bare(getattr(value, field.name), period)) for field in fields(value) if field.name != "line")
    if isinstance(value, date):
        return str(min(max(value, period.start), period.end))
    return tuple(_bare(one, period) for one in value) if isinstance(value, tuple | list) else str(value)
