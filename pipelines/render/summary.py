"""The first page of a team's workbook: four figures, one chart, and where the money went."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from openpyxl.chart import BarChart, Reference, Series
from openpyxl.chart.data_source import NumData, NumVal, StrData, StrVal
from openpyxl.chart.shapes import GraphicalProperties

from pipelines.render import words
from pipelines.render.book import CHANGE, MONEY, MUTED, NOTE, RULE, SERIES, TEXT, WHITE, Book, Column, Look, with_symbol
from pipelines.render.controls import all_good
from pipelines.render.figures import ZERO
from pipelines.render.names import month

if TYPE_CHECKING:
    from pipelines.render.team import Team

_MONEY = Look(MONEY, align="right")
TOP = 8


def team_sheet(team: Team, title: str) -> None:
    book = team.book
    ws = book.sheet(title, "AI cost statement", [11.3] * 12, tall=False)
    _tiles(team, ws)
    book.put(ws, 8, 2, "Controls", NOTE)
    book.formula(ws, 8, 3, "Checks", all_good(book), Look(bold=True, align="center"))
    book.good_or_bad(ws, "C8")
    book.link(ws, 8, 4, "see Controls", "Controls")
    book.link(ws, 8, 11, "How to read this", "Notes")
    book.put(ws, 8, 7, f"Issued as of {team.statements[0]['issued_on']}", NOTE)
    days = team.by_day()
    book.section(ws, 10, 2, 9, f"{month(team.period)}, day by day")
    if days:
        stacked_chart(book, ws, "B11", "Days", [d.isoformat()[8:] for d, _ in days], [s for _, s in days], ("Own usage", "Shared", "Corrections"), (19.6, 7.2))
    top_table(book, ws, 10, 11, "By model", team.detail, "model", 13, "no model")
    top_table(book, ws, 27, 11, "By project", team.detail, "project_id", 13, "no project", TOP)
    _moves(team, ws, 27)
    ws.print_area = "A1:M46"


def _tiles(team: Team, ws: Any) -> None:
    book, money = team.book, Look(with_symbol(team.currency))
    delta = team.total - team.prior
    shared = sum((s["shared_amount"] for s in team.statements), ZERO)
    tokens, cost, currency = team.tokens
    book.tile(ws, 4, 2, "Total", ("Total_charge", team.total), money, words.change(team.total, team.prior))
    sign = with_symbol(team.currency).replace('"', '+"', 1)
    book.tile(ws, 4, 5, "Change", ("Total_charge-Prior_month", delta), Look(sign), f"the month before: {team.prior:,.2f} {team.currency}")
    if tokens > 0 and currency:
        per_million = cost * 1_000_000 / tokens
        book.tile(ws, 4, 8, "Cost per 1M tokens", per_million, Look(with_symbol(currency)), f"{tokens / 1_000_000:,.1f}M tokens, own calls to models")
    else:
        book.tile(ws, 4, 8, "Cost per 1M tokens", "n/a", TEXT, "no priced tokens in this month")
    if team.total > 0:
        book.tile(ws, 4, 11, "Shared part", shared / team.total, Look("0.0%"), f"{shared:,.2f} {team.currency} of common cost")
    else:
        book.tile(ws, 4, 11, "Shared part", "n/a", TEXT, f"{shared:,.2f} {team.currency} of common cost")


def top_table(book: Book, ws: Any, row: int, first: int, title: str, detail: list[dict[str, Any]], key: str, last: int, nameless: str, top: int = 12) -> None:
    """The largest groups by amount and, in one row, all others: it sums to everything."""
    sums: dict[str | None, Decimal] = defaultdict(lambda: ZERO)
    for one in detail:
        sums[one[key]] += one["amount"]
    ranked = sorted(sums.items(), key=lambda item: (-abs(item[1]), item[0] or ""))
    shown = [(name or nameless, amount) for name, amount in ranked[:top]]
    if ranked[top:]:
        shown.append((f"{len(ranked) - top} others", sum((amount for _, amount in ranked[top:]), ZERO)))
    book.section(ws, row, first, last, title)
    for name, amount in shown:
        row += 1
        for column in range(first, last + 1):
            book.put(ws, row, column, None, Look(bottom=("hair", RULE)))
        ws.merge_cells(start_row=row, end_row=row, start_column=first, end_column=last - 1)
        book.put(ws, row, first, name, Look(bottom=("hair", RULE)))
        book.put(ws, row, last, amount, replace(_MONEY, bottom=("hair", RULE)))


def _moves(team: Team, ws: Any, row: int) -> None:
    """The lines that changed most."""
    book = team.book
    book.section(ws, row, 2, 9, "What moved most")
    columns = [Column("Line", 11, NOTE), *[Column("", 11)] * 4, Column("This month", 11, _MONEY), Column("Month before", 11, _MONEY), Column("Change", 11, Look(CHANGE, bold=True))]
    row += 1
    for number, column in enumerate(columns, start=2):
        book.put(ws, row, number, column.title or None, Look(bold=True, size=9, color=MUTED, align="right" if column.is_number else None, indent=1 if column.is_number else 0))
    moved = sorted(team.lines, key=lambda line: (-abs(line["amount"] - line["prior_amount"]), line["line_no"]))
    for line in moved[:TOP]:
        row += 1
        label = " – ".join(part for part in (words.plain(line["activity"]), line["service"], line["model"]) if part)
        if line["category"] == "adjustment":
            label = f"Correction: {label}"
        delta = line["amount"] - line["prior_amount"]
        book.line(ws, row, columns, [None, None, None, None, None, (f"Statement!{team.spots[line['line_no']]}", line["amount"]), line["prior_amount"], (f"G{row}-H{row}", delta)])
        book.put(ws, row, 2, label[:62], Look(bottom=("hair", RULE)))


def stacked_chart(
    book: Book, ws: Any, anchor: str, sheet: str, labels: list[str], values: list[Any], names: tuple[str, ...], size: tuple[float, float], label_column: int = 2, first_column: int = 3
) -> None:
    """Stacked columns over rows 5.. of `sheet`, one series per column from `first_column`; all values are also in the file."""
    chart = BarChart()
    chart.type, chart.grouping, chart.overlap, chart.gapWidth = "col", "stacked", 100, 45
    chart.width, chart.height = size
    data, last = book.wb[sheet], 4 + len(labels)
    shown = [i for i in range(len(names)) if i == 0 or any(v[i] for v in values)]
    for at, i in enumerate(shown):
        column = first_column + i
        series = Series(Reference(data, min_col=column, min_row=5, max_row=last), title_from_data=False)
        series.cat = _categories(Reference(data, min_col=label_column, min_row=5, max_row=last), labels)
        series.tx = _title(names[i])
        points = [NumVal(idx=n, v=repr(float(v[i]))) for n, v in enumerate(values)]
        series.val.numRef.numCache = NumData(formatCode="General", ptCount=len(points), pt=points)
        series.graphicalProperties = GraphicalProperties(solidFill=SERIES[at])
        series.graphicalProperties.line.solidFill, series.graphicalProperties.line.width = WHITE, 3175
        series.invertIfNegative = False
        chart.series.append(series)
    chart.x_axis.delete = chart.y_axis.delete = False
    chart.y_axis.number_format, chart.y_axis.majorGridlines.spPr = "#,##0", _line(RULE)
    chart.x_axis.tickLblPos = "low"
    chart.y_axis.graphicalProperties, chart.x_axis.graphicalProperties = GraphicalProperties(), _line(RULE)
    chart.y_axis.graphicalProperties.line.noFill = True
    chart.legend.position = "b"
    if len(shown) == 1:
        chart.legend = None
    sums = [sum(v, ZERO) for v in values]
    peak = max(range(len(sums)), key=lambda n: sums[n])
    book.chart(ws, chart, anchor, f"Stacked columns: {', '.join(names[i] for i in shown)}. Highest: {labels[peak]} with {sums[peak]:,.2f}. The figures are on the sheet {sheet}.")


def _categories(reference: Reference, labels: list[str]) -> Any:
    from openpyxl.chart.data_source import AxDataSource, StrRef

    points = [StrVal(idx=n, v=label) for n, label in enumerate(labels)]
    return AxDataSource(strRef=StrRef(f=str(reference), strCache=StrData(ptCount=len(points), pt=points)))


def _title(text: str) -> Any:
    from openpyxl.chart.series import SeriesLabel

    return SeriesLabel(v=text)


def _line(color: str) -> GraphicalProperties:
    properties = GraphicalProperties()
    properties.line.solidFill = color
    return properties
