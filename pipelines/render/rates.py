"""The published rate card: a sheet of the workbooks, and the page that teams plan with."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.allocation.words import METERS
from pipelines.render.book import DAY, MONEY, NOTE, Book, Column, Look
from pipelines.render.figures import ZERO, Row, rows
from pipelines.render.names import month

_MONEY = Look(MONEY, align="right")
_NAME = Look(wrap=True)
_RATE = Look("#,##0.00########_)", bold=True, align="right")
_DAY = Look(DAY, indent=1, align="left")
_IN_FORCE, _TO_COME, _OVER = range(3)
_ORDER = "r.service, r.covered, list_position($meters, r.meter), r.line_id, r.only_team nulls first, r.valid_from nulls first"


def in_month(con: duckdb.DuckDBPyConnection, period: str, team_id: str | None) -> list[Row]:
    """The lines that hold on some day of the month; of a team, without what others pay."""
    return rows(
        con,
        f"""
        select r.* from rate_card r join periods p on p.period = $period
        where coalesce(r.valid_from < p.ends_on, true) and coalesce(r.valid_to > p.starts_on, true)
            and ($team_id is null or r.only_team is null or r.only_team = $team_id)
        order by {_ORDER}
        """,
        period=period,
        team_id=team_id,
        meters=list(METERS),
    )


def recovery(con: duckdb.DuckDBPyConnection, period: str, version: int) -> list[Row]:
    return rows(
        con,
        "from recovery where period = $period and version = $version order by billing_currency, service",
        period=period,
        version=version,
    )


def meter(line: Row) -> str:
    """What is sold: `Uncached input`, `GPU-hours`."""
    said = METERS[line["meter"]]
    return said[0].upper() + said[1:]


def sheet(book: Book, title: str, con: duckdb.DuckDBPyConnection, period: str, version: int, team_id: str | None) -> None:
    """The lines of the month and what GPUs count as; for the company also what the rates brought in. No lines, no sheet."""
    lines, recovered = in_month(con, period, team_id), [] if team_id else recovery(con, period, version)
    if not lines and not recovered:
        return
    ws = book.sheet(title, "Rate card", [30, 26, 26, 16, 20, 18, 12, 12, 40])
    ws.print_title_rows = "1:3"
    row = _lines(book, ws, 4, lines)
    row = _equivalents(book, ws, row, con, lines)
    book.one_page(ws, _recovery(book, ws, row, recovered))


def _lines(book: Book, ws: Any, row: int, lines: list[Row]) -> int:
    if not lines:
        return row
    columns = [
        Column("Service", 30, _NAME), Column("What is sold", 26, _NAME), Column("Of", 26, _NAME),
        Column("Rate", 16, _RATE), Column("Per", 20, Look(indent=1)),
        Column("For", 18, _NAME), Column("From", 12, _DAY), Column("Until", 12, _DAY), Column("Note", 40, replace(NOTE, wrap=True)),
    ]  # fmt: skip
    book.section(ws, row, 2, 10, f"What is sold at published rates, in {lines[0]['currency']}")
    book.header(ws, row + 1, columns)
    row += 2
    for one in lines:
        book.line(ws, row, columns, [
            one["service"], meter(one), one["covered"], one["rate"], one["unit"], one["only_team"] or "everybody",
            one["valid_from"], last_day(one), one["note"],
        ], bold=one["only_team"] is not None)  # fmt: skip
        row += 1
    book.put(
        ws, row, 2, "Everything that is not listed is charged at cost. A rate of one team's own stands below the rate for everybody.", NOTE
    )
    return row + 2


def last_day(line: Row) -> date | None:
    return line["valid_to"] and date.fromordinal(line["valid_to"].toordinal() - 1)


def equivalents(con: duckdb.DuckDBPyConnection, lines: list[Row]) -> list[Row]:
    """What each card counts as, where one of the lines sells equivalent hours."""
    if not any(line["unit"] == "equivalent GPU-hour" for line in lines):
        return []
    found = rows(con, "from gpu_equivalents order by equivalent, gpu_model, valid_from nulls first")
    return [{**one, "last_day": last_day(one)} for one in found]


def _equivalents(book: Book, ws: Any, row: int, con: duckdb.DuckDBPyConnection, lines: list[Row]) -> int:
    found = equivalents(con, lines)
    if not found:
        return row
    columns = [
        Column("GPU", 30, _NAME),
        Column("Equivalent hours of one hour", 26, Look(align="right")),
        Column("From", 26, _DAY),
        Column("Until", 16, _DAY),
    ]
    book.section(ws, row, 2, 10, "What an hour of each GPU counts as")
    book.header(ws, row + 1, columns)
    row += 2
    for one in found:
        book.line(ws, row, columns, [one["gpu_model"], one["equivalent"], one["valid_from"], one["last_day"]])
        row += 1
    return row + 1


def _recovery(book: Book, ws: Any, row: int, found: list[Row]) -> int:
    """Per service, with live sums: cost, what the rates brought in, and the difference."""
    if not found:
        return row
    columns = [
        Column("Service", 30, _NAME), Column("Cost", 26, _MONEY), Column("Brought in by the rates", 26, _MONEY),
        Column("Recovered", 16, Look("0.0%_)")),
        Column("Over (under)", 20, replace(_MONEY, bold=True)), Column("Currency", 18, Look(indent=1)),
    ]  # fmt: skip
    book.section(ws, row, 2, 10, "What the services cost, and what the rates brought in")
    book.header(ws, row + 1, columns)
    row += 2
    for currency in dict.fromkeys(one["billing_currency"] for one in found):
        mine = [one for one in found if one["billing_currency"] == currency]
        first = row
        for one in mine:
            book.line(ws, row, columns, [one["service"], one["cost"], one["sold"], *_compared(row, one["cost"], one["sold"]), currency])
            row += 1
        cost, sold = (sum((one[key] for one in mine), ZERO) for key in ("cost", "sold"))
        sums = [(f"SUM({c}{first}:{c}{row - 1})", value) for c, value in (("C", cost), ("D", sold))]
        book.total(ws, row, columns, ["All services", *sums, *_compared(row, cost, sold), currency])
        row += 1
    book.put(ws, row, 2, "The difference stays with the platform team, as recovery on its statement; it is not shared again.", NOTE)
    return row + 1


def _compared(row: int, cost: Decimal, sold: Decimal) -> list[tuple[str, Any]]:
    return [(f'IF(C{row}=0,"n/a",D{row}/C{row})', sold / cost if cost else "n/a"), (f"D{row}-C{row}", sold - cost)]


# the page --------------------------------------------------------------------------------------------------------------


def page_parts(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What reports/rate-card.html shows: lines in force by service, then those to come and those that are over; equivalents; recovery."""
    (as_of,) = con.execute("select coalesce((select max(issued_on) from statements), (select max(starts_on) from periods))").fetchall()[0]
    lines = [
        {**line, "meter": meter(line), "last_day": last_day(line), "when": _when(line, as_of)}
        for line in rows(con, f"from rate_card r order by {_ORDER}", meters=list(METERS))
    ]
    others = [("To come", _by_service(lines, _TO_COME)), ("No longer in force", _by_service(lines, _OVER))]
    recovered = rows(
        con,
        """
        from recovery qualify dense_rank() over (order by period desc) <= 3 and version = max(version) over (partition by period)
        order by period desc, billing_currency, service
        """,
    )
    return {
        "as_of": as_of, "card": lines[0]["rate_card_id"] if lines else None, "currency": lines[0]["currency"] if lines else "",
        "services": _by_service(lines, _IN_FORCE), "others": [(title, found) for title, found in others if found],
        "equivalents": equivalents(con, lines), "recovered": [{**one, "month": month(one["period"])} for one in recovered],
    }  # fmt: skip


def _by_service(lines: list[Row], when: int) -> list[tuple[str, list[Row]]]:
    found = [line for line in lines if line["when"] == when]
    return [(name, [line for line in found if line["service"] == name]) for name in dict.fromkeys(line["service"] for line in found)]


def _when(line: Row, as_of: date | None) -> int:
    if as_of and line["valid_from"] and line["valid_from"] > as_of:
        return _TO_COME
    return _OVER if as_of and line["valid_to"] and line["valid_to"] <= as_of else _IN_FORCE
