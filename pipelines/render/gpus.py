"""The sheet on our own GPUs: what their hours were used for, and what a million tokens of our own models cost."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.render.book import MONEY, NOTE, Book, Column, Look
from pipelines.render.figures import ZERO, Row, rows

_MONEY = Look(MONEY, align="right")
_NAME = Look(wrap=True)
_HOURS = Look('#,##0.0_);(#,##0.0);"–"_)')
_RATE = Look('#,##0.0000_);(#,##0.0000);"–"_)')
_SHARE = Look("0.0%_)", color=NOTE.color)
_TOKENS = Look('#,##0_);(#,##0);"–"_)')

_USES = {
    "used": "Worked for jobs and models",
    "unattributed": "Worked, but no gateway logged the calls",
    "idle_reserved": "Idle: held, but did not work",
    "idle_stranded": "Idle: rest of cards of which slices are held",
    "idle_unallocated": "Idle: nobody held it",
}
_KINDS = {"input_uncached": "Input", "cache_read": "Input from the cache", "output": "Output", "all": "All kinds, weighted"}
_COVERAGE = {
    "matched": "the same", "unattributed": "servers counted more", "beyond_counters": "gateways logged more", "no_counters": "no counters of the servers",
}  # fmt: skip


def uses(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """Hours and cost of each cluster by use, in the order of `_USES`."""
    return rows(con, "from gpu_costs where period = $period order by cluster, list_position($uses, use)", period=period, uses=list(_USES))


def rates(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    return rows(
        con,
        "from blended_rates where period = $period order by serving_pool, list_position($meters, meter), weight_from",
        period=period,
        meters=list(_KINDS),
    )


def coverage(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """Tokens that gateways logged and servers counted, by pool and state of the day's comparison."""
    return rows(
        con,
        """
        select serving_pool, state, count(distinct usage_date) as days, sum(gateway_tokens)::decimal(38, 0) as gateway_tokens,
            sum(served_tokens)::decimal(38, 0) as served_tokens
        from serving_coverage where period = $period group by all order by all
        """,
        period=period,
    )


def sheet(book: Book, title: str, con: duckdb.DuckDBPyConnection, period: str) -> None:
    ws = book.sheet(title, "Our own GPUs and models", [18, 40, 13, 18, 16, 16, 18, 18])
    row = _uses(book, ws, 4, uses(con, period))
    row = _rates(book, ws, row, rates(con, period))
    book.one_page(ws, _coverage(book, ws, row, coverage(con, period)))


def _uses(book: Book, ws: Any, row: int, found: list[Row]) -> int:
    columns = [
        Column("Cluster", 18), Column("What its GPUs did", 40, _NAME), Column("Of the cluster", 13, _SHARE), Column("GPU-hours", 18, _HOURS),
        Column("Cost", 16, _MONEY), Column("Of the cluster", 16, _SHARE),
    ]  # fmt: skip
    book.section(ws, row, 2, 9, "What the GPUs were used for")
    if not found:
        book.put(ws, row + 1, 2, "No GPUs in this month.")
        return row + 3
    book.header(ws, row + 1, columns)
    row += 2
    for cluster in dict.fromkeys(one["cluster"] for one in found):
        mine = [one for one in found if one["cluster"] == cluster]
        hours, cost = (sum((one[key] or ZERO for one in mine), ZERO) for key in ("gpu_hours", "effective_cost"))
        first, last = row, row + len(mine)
        for one in mine:
            parts = [
                (f"IF({c}{last}=0,0,{c}{row}/{c}{last})", (one[key] or ZERO) / whole if whole else ZERO)
                for c, key, whole in (("E", "gpu_hours", hours), ("F", "effective_cost", cost))
            ]
            book.line(ws, row, columns, [cluster, _USES.get(one["use"], one["use"]), parts[0], one["gpu_hours"], one["effective_cost"], parts[1]])
            row += 1
        sums = [(f"SUM({c}{first}:{c}{last - 1})", value) for c, value in (("E", hours), ("F", cost))]
        book.total(ws, row, columns, [f"All of {cluster}", None, None, *sums, None])
        row += 2
    text = "A GPU that is held counts as working where nobody measured whether it did. Hours are priced one by one, then summed."
    book.put(ws, row - 1, 2, text, NOTE)
    return row + 1


def _rates(book: Book, ws: Any, row: int, found: list[Row]) -> int:
    columns = [
        Column("Model server", 18, _NAME), Column("Kind of token", 40), Column("Weight", 13, Look("0.######_)")), Column("Since", 18, Look("yyyy-mm-dd", indent=1)),
        Column("Tokens", 16, _TOKENS), Column("Weighted tokens", 16, _TOKENS), Column("Per million, working GPUs", 18, _RATE),
        Column("Per million, idle included", 18, _RATE),
    ]  # fmt: skip
    if not found:
        return row
    book.section(ws, row, 2, 9, "What a million tokens of our own models cost")
    book.header(ws, row + 1, columns, height=26)
    row += 2
    for one in found:
        whole = one["meter"] == "all"
        book.line(ws, row, columns, [
            one["serving_pool"], _KINDS.get(one["meter"], one["meter"]), None if whole else one["weight"], one["weight_from"] if _dated(one) else None,
            one["tokens"], one["weighted_tokens"], one["usage_rate_per_million"], one["full_rate_per_million"],
        ], bold=whole)  # fmt: skip
        row += 1
    text = "Weights are declared in teams.yaml. Compare models with the rate of working GPUs, an API's price with the rate that includes idle ones."
    book.put(ws, row, 2, text, NOTE)
    return row + 2


def _dated(rate: Row) -> bool:
    """Whether its weight was declared from a day on; without one it holds since ever."""
    return rate["weight_from"] is not None and rate["weight_from"].year > 1900


def _coverage(book: Book, ws: Any, row: int, found: list[Row]) -> int:
    columns = [
        Column("Model server", 18, _NAME), Column("Gateways and servers", 40), Column("Days", 13, Look("0_)")), Column("Tokens logged", 18, _TOKENS),
        Column("Tokens counted", 16, _TOKENS), Column("Difference", 16, replace(_TOKENS, color=NOTE.color)),
    ]  # fmt: skip
    if not found:
        return row
    book.section(ws, row, 2, 9, "Tokens that gateways logged, against what the model servers counted")
    book.header(ws, row + 1, columns)
    row += 2
    for one in found:
        known = one["served_tokens"] is not None
        gap: Decimal | str = one["served_tokens"] - one["gateway_tokens"] if known else "n/a"
        book.line(ws, row, columns, [
            one["serving_pool"], _COVERAGE.get(one["state"], one["state"]), Decimal(one["days"]), one["gateway_tokens"], one["served_tokens"] if known else "n/a",
            (f'IF(ISNUMBER(F{row}),F{row}-E{row},"n/a")', gap),
        ])  # fmt: skip
        row += 1
    return row
