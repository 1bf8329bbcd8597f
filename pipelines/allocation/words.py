"""What columns, drivers, owners and reasons are called in the language of finance: for sentences, the ledger and workbooks.

A driver's own words stand in the header of its SQL (`called`), so that a new driver brings them along.
"""

from __future__ import annotations

from calendar import month_name
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from pipelines import models
from pipelines.yaml_file import Dated

if TYPE_CHECKING:
    from pipelines.policy.files import RateLine

ALLOCATED = "@allocated"
UNALLOCATED = "unallocated"
RECIPROCAL = "reciprocal"  # stands for a driver where teams that serve each other were solved together

COLUMNS = {
    "charge_id": "bill line", "vector_index_id": "vector index", "serving_pool": "model server of our own", "cluster": "GPU cluster",
    "provider": "vendor", "billing_account_id": "vendor account", "sub_account_id": "vendor project", "owner": "owner of the vendor project or key",
    "charge_category": "kind of charge", "charge_class": "class of the charge", "sku_meter": "meter", "portion": "part of the charge", "gpu_use": "use of the GPUs",
    "usage_date": "day", "target": "team", "billing_currency": "currency", "consumed_unit": "unit",
}  # fmt: skip
VALUES = {
    ("charge_category", "Tax"): "tax", ("charge_category", "Credit"): "credits",
    ("portion", "metered"): "usage that the gateways saw", ("portion", "excess"): "usage that was billed and no gateway saw",
    ("gpu_use", "idle_reserved"): "GPUs that somebody held and left idle", ("gpu_use", "idle_stranded"): "what is left of a GPU of which others hold slices",
    ("gpu_use", "unattributed"): "tokens that our model server counted and no gateway saw",
    ("activity", "gpu_idle"): "GPUs that stood idle", ("activity", "query"): "searches of vector indexes",
    ("activity", "embedding"): "embeddings", ("activity", "index_maintenance"): "upkeep of vector indexes",
    ("activity", "platform"): "support plans, plan minimums and other platform cost",
}  # fmt: skip

METERS = {
    "tokens": "all tokens", "input": "input", "input_uncached": "uncached input", "cache_read": "cached input", "cache_write_5m": "writes to the five-minute cache",
    "cache_write_1h": "writes to the one-hour cache", "output": "output", "gpu_hours": "GPU-hours",
    "queries": "searches", "read_units": "read units", "write_units": "write units", "gb_months": "storage",
}  # fmt: skip


def column(name: str) -> str:
    """`vector_index_id` -> `vector index`."""
    return COLUMNS.get(name.lower()) or name.lower().removesuffix("_id").replace("_", " ")


def driver(name: str) -> str:
    """What is counted, without an article: `index_queries` -> `searches`. A landed driver is called by its name."""
    if name == ALLOCATED:
        return "what each team already carries"
    if name == RECIPROCAL:
        return "services between support teams"
    model = models.drivers().get(name)
    return model.called if model and model.called else name.replace("_", " ")


def unit(name: str) -> str | None:
    """The unit of a driver's quantities; a landed driver counts what its name says. None where that is the charge's currency."""
    if name == ALLOCATED:
        return None
    model = models.drivers().get(name)
    found = model.unit if model and model.unit else name.replace("_", " ").title()
    return None if found == "currency" else found


def pays(owner: str) -> str:
    return "it stays without an owner" if owner == UNALLOCATED else f"the {owner} team pays"


def day(when: date) -> str:
    return f"{when.day} {month_name[when.month]} {when.year}"


def span(start: date | None, end: date | None) -> str:
    """The days [start, end) by their first and last day; nothing where there is no bound."""
    said = [f"from {day(start)}"] if start and start != date.min else []
    return " ".join(said + ([f"until {day(end - timedelta(days=1))}"] if end and end != date.max else []))


def listed(names: Iterable[str], last: str = "and") -> str:
    *first, final = names
    return f"{', '.join(first)} {last} {final}" if first else final


def percent(basis_points: int) -> str:
    return f"{Decimal(basis_points) / 100:f}%"


# Why a row is what it is ---------------------------------------------------------------------------------------------


def no_owner(name: str) -> str:
    return f"no {column(name)} is known"


def no_record(name: str) -> str:
    return "nobody carries any cost yet" if name == ALLOCATED else f"no record of {driver(name)}"


def cannot_take(owner: str) -> str:
    return f"the {owner} team cannot take it" if owner else "none of the teams named can take it"


def left_unallocated(rule_id: str) -> str:
    return f"rule {rule_id} leaves it without an owner"


def limited(times: Decimal, of: str) -> str:
    return f"limited to {times:f} times {driver(of)}"


def excess(times: Decimal, of: str) -> str:
    return f"what is over {times:f} times {driver(of)}"


def small_shares(basis_points: int) -> str:
    return f"shares below {percent(basis_points)} together"


UNKNOWN_USER = "used by somebody whose team is not known"
PART_WITHOUT_BASIS = "a part of the rule had no basis: the others took its share"
ONLY_EACH_OTHER = "support teams pass cost only to each other"


# Prices and weights --------------------------------------------------------------------------------------------------


def token_weights(output: Decimal, cached: Decimal, other: Decimal, start: date | None, end: date | None) -> str:
    """What a token of each kind weighs when a model server of our own is shared."""
    told = f"A token of output weighs {_plain(output)}, of cached input {_plain(cached)}, of other input {_plain(other)}"
    dates = span(start, end)
    return f"{told}{f', {dates}' if dates else ''}."


def rate(line: RateLine, currency: str) -> str:
    """One line of the rate card, with what single teams pay instead and its note."""

    def at(price: Decimal, dates: Dated) -> str:
        return f"{price:f} {currency} per {line.unit}{f' {days}' if (days := span(dates.start, dates.end)) else ''}"

    own = [f"the {one.team} team pays {at(one.rate, one)}" for one in line.teams]
    told = f"Sold: {'; '.join([f'{METERS[line.meter]} of {line.service} at {at(line.rate, line)}', *own])}."
    return f"{told} {line.note.rstrip('.')}." if line.note else told


def _plain(number: Decimal) -> str:
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"
