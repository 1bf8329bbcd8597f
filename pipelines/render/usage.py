"""Two sheets of a team's workbook: what it used itself, by project, model and meter; and its months."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipelines.render import figures, words
from pipelines.render.book import CHANGE, EXACT, GROUP, MONEY, NOTE, QUANTITY, Column, Look, with_symbol
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import short_month

if TYPE_CHECKING:
    from pipelines.render.team import Team

_MONEY = Look(MONEY, align="right")
_SMALL = replace(_MONEY, size=9, color=NOTE.color)
_RATE = Look('#,##0.0000_);(#,##0.0000);"–"_)')
PERCENT = Look('+0.0%_);-0.0%_);"–"_)')
NO_PROJECT = "No project named"


def sheet(team: Team, title: str) -> None:
    """Own usage, the project that costs most first. Each row is the sum of its rows in Detail, by the number in `Use`."""
    columns = [
        Column("Project", 24, Look(wrap=True)), Column("Service", 22, Look(wrap=True)), Column("Model", 26, Look(wrap=True)), Column("Meter", 20, Look(wrap=True)),
        Column("Quantity", 14, Look(QUANTITY)), Column("Unit", 13, Look(size=9, color=NOTE.color, indent=1)), Column("Average rate", 12, _RATE),
        Column("List cost", 12, _SMALL), Column("Amount, exact", 14, Look(EXACT, bold=True)), Column("In Detail", 14, Look(EXACT, size=9, color=NOTE.color)),
        Column("Difference", 11, _SMALL), Column("Of own usage", 10, Look("0.0%_)")), Column("Use", 6, Look("0_)", size=9, color=NOTE.color)),
    ]  # fmt: skip
    ws = team.book.sheet(title, "Own usage by project, model and meter", [c.width for c in columns])
    team.book.header(ws, 4, columns, height=28)
    ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
    found = figures.uses(team.con)
    if not found:
        team.book.put(ws, 5, 2, "This team used nothing itself in this month.")
        _how_well(team, ws, 7, len(columns) + 1)
        return
    whole, row, first = sum((use["amount"] for use in found), ZERO), 5, 5
    last = 4 + len(found) + len({use["project_id"] for use in found})
    for number, use in enumerate(found):
        if number == 0 or use["project_id"] != found[number - 1]["project_id"]:
            mine = [one for one in found if one["project_id"] == use["project_id"]]
            _heading(team, ws, row, columns, mine, whole, last)
            row += 1
        team.book.line(ws, row, columns, _use(row, use, whole, last))
        row += 1
    sums = [(f"SUBTOTAL(9,{letter}{first}:{letter}{row - 1})", value) for letter, value in zip("IJKL", (_list_cost(found), whole, whole, ZERO), strict=True)]
    team.book.total(ws, row, columns, ["All own usage", *[None] * 6, *sums, None, None])
    team.used_cell = f"{title}!J{row}"
    team.book.red_unless_zero(ws, f"L{first}:L{row}")
    text = (
        "A meter is what the vendor counts apart: tokens of input, of output, read from the cache, hours, searches. Amounts are exact, before the rounding"
        " of statement lines to whole cents; average rate is amount by quantity. Shares of common cost are not here: see Shared costs."
    )
    words.paragraph(team.book, ws, row + 2, 2, len(columns) + 1, text, sum(c.width for c in columns), NOTE)
    _how_well(team, ws, row + 4, len(columns) + 1)


_KINDS = {"money": "#,##0.00_)", "rate": "#,##0.0000_)", "count": "#,##0_)", "minutes": "#,##0.0_)", "percent": "0.0%_)"}


def _how_well(team: Team, ws: Any, row: int, last: int) -> None:
    """What calls of models cost for each thing they did, and the budgets they draw on, as the tables of the analysts say it."""
    known = team.used
    if known is None:
        return
    book, number = team.book, Look(align="right")
    if known.measures:
        book.section(ws, row, 2, last, "How well it was used")
        titles = ["This month", *["Month before"] * known.has_before, *["Embeddings"] * known.has_embeddings]
        columns = [Column("Calls of models", 24, Look(wrap=True)), *[Column(title, 22, number) for title in titles]]
        book.header(ws, row + 1, columns)
        row += 2
        for one in known.measures:
            values = [one.now, *[one.before] * known.has_before, *[one.embeddings] * known.has_embeddings]
            book.line(ws, row, [columns[0], *[replace(c, look=replace(number, format=_KINDS[one.kind])) for c in columns[1:]]], [one.label, *[_shown(value, one.kind) for value in values]])
            row += 1
        words.paragraph(book, ws, row, 2, last, known.explained, 196, NOTE)
        row += 2
    if known.beside:
        book.section(ws, row, 2, last, "Beside calls of models")
        columns = [Column("What", 24, Look(wrap=True)), *[Column(title, 22, number) for title in ("This month", "Month before")]]
        book.header(ws, row + 1, columns)
        row += 2
        for one in known.beside:
            look = replace(number, format=_KINDS[one.kind])
            book.line(ws, row, [columns[0], *[replace(c, look=look) for c in columns[1:]]], [one.label, _shown(one.now, one.kind), _shown(one.before, one.kind)])
            row += 1
        row += 1
    if known.budgets:
        columns = [
            Column("Budget", 24, Look(wrap=True)), Column("Amount", 22, _MONEY), Column("Used", 26, Look("0.0%_)", align="right")), Column("Month end", 20, _MONEY),
            Column("Our part", 14, Look("0.0%_)", align="right")), Column("State", 13, Look(indent=1)),
        ]  # fmt: skip
        book.section(ws, row, 2, last, "Budgets")
        book.header(ws, row + 1, columns)
        row += 2
        for budget in known.budgets:
            percents = [_shown(budget[key], "percent") for key in ("consumed_percent", "share_percent")]
            book.line(ws, row, columns, [budget["title"], budget["amount"], percents[0], budget["forecast"] if budget["forecast"] is not None else "n/a", percents[1], f"{budget['mark']} {budget['word']}"])
            row += 1
        row += 1
    if known.forecast and known.forecast["forecast"] is not None:
        expected, low, high = (f"{words.half_up(known.forecast[key]):,.2f}" for key in ("forecast", "low", "high"))
        text = f"Expected for the whole month: {expected} {known.currency}, between {low} and {high} if days stay as they were. A forecast is no part of the statement."
        words.paragraph(book, ws, row, 2, last, text, 196, NOTE)


def _shown(value: Decimal | None, kind: str) -> Decimal | str:
    """Percent as Excel counts it; unknown is n/a."""
    if value is None:
        return "n/a"
    return value / 100 if kind == "percent" else value


def _heading(team: Team, ws: Any, row: int, columns: list[Column], mine: list[Row], whole: Decimal, last: int) -> None:
    """A project and its sums, as SUBTOTALs that the grand total leaves out."""
    amount, end = sum((use["amount"] for use in mine), ZERO), row + len(mine)
    sums = [(f"SUBTOTAL(9,{letter}{row + 1}:{letter}{end})", value) for letter, value in zip("IJ", (_list_cost(mine), amount), strict=True)]
    share = (f"IF(J{last + 1}=0,0,J{row}/J{last + 1})", amount / whole if whole else ZERO)
    values = [mine[0]["project_id"] or NO_PROJECT, *[None] * 6, *sums, None, None, share, None]
    team.book.line(ws, row, columns, values, bold=True, color=GROUP.color, fill=GROUP.fill)


def _use(row: int, use: Row, whole: Decimal, last: int) -> list[Any]:
    quantity, rate = use["quantity"], None
    scale, unit = words.unit(use["unit"], use["amount"] / quantity if quantity else None)
    if quantity:
        quantity, rate = quantity / scale, use["amount"] * scale / quantity
    return [
        None, use["service"], use["model"], words.meter(use["meter"]), quantity, unit if quantity else None, rate, use["list_cost"], use["amount"],
        (f"SUMIFS(Detail[Amount],Detail[Use],N{row})", use["amount"]), (f"ROUND(J{row}-K{row},2)", ZERO),
        (f"IF(J{last + 1}=0,0,J{row}/J{last + 1})", use["amount"] / whole if whole else ZERO), use["use_no"],
    ]  # fmt: skip


def _list_cost(uses: list[Row]) -> Decimal:
    return sum((use["list_cost"] for use in uses if use["list_cost"] is not None), ZERO)


def trend_sheet(team: Team, title: str) -> None:
    """Up to thirteen months, the data behind the chart on the first page."""
    columns = [
        Column("Month", 16), Column("Own usage", 15, _MONEY), Column("Share of common cost", 15, _MONEY), Column("Corrections and recovery", 15, _MONEY),
        Column("Total", 15, replace(_MONEY, bold=True)), Column("Change", 14, Look(CHANGE)), Column("Change in percent", 13, PERCENT),
        Column("Charged tokens, millions", 17, Look('#,##0.0_);(#,##0.0);"–"_)')), Column("Cost per 1M charged tokens", 14, Look(with_symbol(team.currency, "#,##0.00_)"))),
        Column("Issued as", 16, Look(indent=1)),
    ]  # fmt: skip
    ws = team.book.sheet(title, "Month by month", [c.width for c in columns])
    ws.print_title_rows = "1:4"
    team.book.header(ws, 4, columns, height=30)
    before: Row | None = None
    for row, one in enumerate(team.months, start=5):
        change: list[Any] = [None, None]
        if before:
            part = (one["total"] - before["total"]) / before["total"] if before["total"] > 0 else "n/a"
            change = [(f"F{row}-F{row - 1}", one["total"] - before["total"]), (f'IF(F{row - 1}>0,G{row}/F{row - 1},"n/a")', part)]
        tokens, cost = one["tokens"] or ZERO, one["token_cost"]
        rate = cost * 1_000_000 / tokens if cost is not None and tokens > 0 else "n/a"
        state = "draft" if one["version"] == 0 else f"version {one['version']}"
        total = (f"SUM(C{row}:E{row})", one["total"])
        team.book.line(ws, row, columns, [short_month(one["period"]), one["own"], one["shared"], one["other"], total, *change, tokens / 1_000_000, rate, state])
        before = one
    row = 6 + len(team.months)
    text = (
        "Every month as its newest version says it. Share of common cost is what the platform's rules gave the team: idle GPUs, upkeep of"
        " indexes, platform and support fees. Charged tokens are those that lines of own model calls charge. A month before the first statement is not shown."
    )
    words.paragraph(team.book, ws, row, 2, len(columns) + 1, text, sum(c.width for c in columns), NOTE)
    team.book.one_page(ws, row)
