"""The first page of a team's workbook: four figures, one chart, and where the money went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from openpyxl.chart import BarChart, Reference, Series
from openpyxl.chart.data_source import AxDataSource, NumData, NumRef, NumVal, StrData, StrRef, StrVal
from openpyxl.chart.series import SeriesLabel
from openpyxl.chart.shapes import GraphicalProperties
from openpyxl.chart.text import RichText
from openpyxl.drawing.text import CharacterProperties, Paragraph, ParagraphProperties, RichTextProperties
from openpyxl.utils.datetime import to_excel

from pipelines.render import figures, story
from pipelines.render.book import (
    CHANGE,
    MONEY,
    MUTED,
    NOTE,
    RULE,
    SERIES,
    TEXT,
    WHITE,
    Book,
    Column,
    Look,
    text_lines,
    with_symbol,
)
from pipelines.render.controls import all_good
from pipelines.render.figures import CENT, ZERO
from pipelines.render.names import clip, month, short_month

if TYPE_CHECKING:
    from pipelines.render.team import Team

_MONEY = Look(MONEY, align="right")
_HAIR = ("hair", RULE)
TOP, MOST_SENTENCES = 6, 7


def team_sheet(team: Team, title: str) -> None:
    book = team.book
    ws = book.sheet(title, "AI cost statement", [11.3] * 12, tall=False)
    _tiles(team, ws)
    until = team.statements[0].get("dispute_until")
    controls_line(book, ws, f"As of {team.statements[0]['issued_on']}" + (f"  ·  dispute by {until}" if until else ""))
    book.section(ws, 10, 2, 4, "Month by month" if len(team.months) > 1 else "First month")
    parts = [(one["own"], one["shared"], one["other"]) for one in team.months]
    names = (team.own_words, "Shared", "Corrections and recovery")
    stacked_chart(book, ws, "B11", "Trend", [short_month(one["period"]) for one in team.months], parts, names, (7.7, 7.2))
    book.section(ws, 10, 6, 9, f"{month(team.period)}, day by day")
    if team.days:
        stacked_chart(book, ws, "F11", "Days", [day for day, _ in team.days], [split for _, split in team.days], names[:2], (10.6, 7.2))
    book.section(ws, 10, 11, 13, "By model or service")
    top_table(book, ws, 10, figures.by_resource(team.con), 14)
    row = _moves(team, ws, 26)
    book.section(ws, row, 2, 9, "Worth knowing")
    for offset, sentence in enumerate(story.sentences(team)[:MOST_SENTENCES], start=1):
        book.merge(ws, row + offset, 2, 9)
        book.put(ws, row + offset, 2, f"•  {clip(sentence, 240)}", Look(wrap=True))
        book.height(ws, row + offset, 14.5 * text_lines(sentence, 94, 10) + 2)
    book.section(ws, row, 11, 13, "By project")
    top_table(book, ws, row, figures.by_project(team.con), MOST_SENTENCES)
    ws.print_area = f"A1:M{row + MOST_SENTENCES + 1}"


def controls_line(book: Book, ws: Any, note: str) -> None:
    """The verdict of all checks, and the ways to the sheets that explain it."""
    book.put(ws, 8, 2, "Controls", NOTE)
    book.formula(ws, 8, 3, "Checks", all_good(book), Look(bold=True, align="center"))
    book.good_or_bad(ws, "C8")
    book.link(ws, 8, 5, "see Controls", "Controls")
    book.put(ws, 8, 8, note, NOTE)
    book.link(ws, 8, 11, "How to read this", "Notes")


def _tiles(team: Team, ws: Any) -> None:
    """Total and change are live, from the statement."""
    live = {"Total": "Total_charge", "Change": "Total_charge-Prior_month"}
    for column, tile in zip((2, 5, 8, 11), story.tiles(team), strict=True):
        money = with_symbol(tile.currency)
        look = Look({"money": money, "change": money.replace('"', '+"', 1), "share": "0.0%"}[tile.kind]) if tile.value is not None else TEXT
        value = "n/a" if tile.value is None else (live[tile.label], tile.value) if tile.label in live else tile.value
        team.book.tile(ws, 4, column, tile.label, value, look, tile.note)


def sums_by(rows: list[dict[str, Any]], name: Callable[[dict[str, Any]], str]) -> list[tuple[str, Decimal]]:
    """(name, amount) of every group of rows that has one, the largest first."""
    sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for row in rows:
        sums[name(row)] += row["amount"]
    return sorted(((name, amount) for name, amount in sums.items() if amount), key=lambda item: (-abs(item[1]), item[0]))


def top_table(book: Book, ws: Any, row: int, ranked: list[tuple[str, Decimal]], top: int = 13) -> None:
    """The largest groups under the heading in `row` and, in one row, all others: it sums to everything."""
    shown = ranked[:top]
    if ranked[top:]:
        shown = [*ranked[: top - 1], (f"{len(ranked) - top + 1} others", sum((amount for _, amount in ranked[top - 1 :]), ZERO))]
    for name, amount in shown:
        row += 1
        for column in (11, 12, 13):
            book.put(ws, row, column, None, Look(bottom=_HAIR))
        book.merge(ws, row, 11, 12)
        book.put(ws, row, 11, clip(name, 40), Look(bottom=_HAIR, shrink=True))
        book.put(ws, row, 13, amount, replace(_MONEY, bottom=_HAIR))


def _moves(team: Team, ws: Any, row: int) -> int:
    """The lines that moved most and why, then all others and the sum, which is the change of the month. Returns the row for what follows."""
    book, first = team.book, row + 2
    book.section(ws, row, 2, 13, "What moved most, and why")
    names = ("This month", "Month before", "Change", "Volume", "Rate", "Mix", "New", "Not counted")
    columns = [Column("Line", 11), *[Column("", 11)] * 3, *[Column(name, 11, _MONEY if at < 2 else Look(CHANGE, bold=at == 2)) for at, name in enumerate(names)]]
    for number, column in enumerate(columns, start=2):
        book.put(ws, row + 1, number, column.title or None, Look(bold=True, size=9, color=MUTED, align="right" if column.is_number else None, indent=1 if column.is_number else 0))
    shown, rest = (team.moves, []) if len(team.moves) <= TOP else (team.moves[:TOP], team.moves[TOP:])
    named = [(story.line(move), [move[part] for part in story.AMOUNTS]) for move in shown]
    if rest:
        named.append((f"{len(rest)} other lines", [sum((move[part] for move in rest), ZERO) for part in story.AMOUNTS]))
    row += 2
    for label, (now, before, change, *parts) in named:
        book.line(ws, row, columns, [None] * 4 + [now, before, (f"F{row}-G{row}", change), *parts])
        book.put(ws, row, 2, clip(label, 52), Look(bottom=_HAIR))
        row += 1
    if named:
        sums = [sum((amounts[at] for _, amounts in named), ZERO) for at in range(len(story.AMOUNTS))]
        book.total(ws, row, columns, ["All lines"] + [None] * 3 + [(f"SUM({letter}{first}:{letter}{row - 1})", value) for letter, value in zip("FGHIJKLM", sums, strict=True)])
    return row + 2


def stacked_chart(
    book: Book, ws: Any, anchor: str, sheet: str, labels: list[Any], values: list[Any], names: tuple[str, ...], size: tuple[float, float],
    label_column: int = 2, first_column: int = 3, first_row: int = 5,
) -> None:  # fmt: skip
    """Stacked columns over the rows of `sheet` from `first_row`, one series per column from `first_column`; a series of
    nothing is left out. Labels are texts or days. All values are also in the chart part, for viewers that read only that.
    """
    chart = BarChart()
    chart.type, chart.grouping, chart.overlap = "col", "stacked", 100
    chart.width, chart.height = size
    chart.gapWidth = max(45, min(300, 1000 // max(1, len(labels)) - 60))
    data, last = book.wb[sheet], first_row + len(labels) - 1
    sums = [sum(v, ZERO) for v in values]
    seen = max(CENT, max(sums) / 200)  # what is thinner than a line has no series
    shown = [i for i in range(len(names)) if i == 0 or any(abs(v[i]) >= seen for v in values)]
    for at, i in enumerate(shown):
        column = first_column + i
        series = Series(Reference(data, min_col=column, min_row=first_row, max_row=last), title_from_data=False)
        series.cat = _categories(Reference(data, min_col=label_column, min_row=first_row, max_row=last), labels)
        series.tx = SeriesLabel(v=names[i])
        series.val.numRef.numCache = _numbers([v[i] for v in values])
        series.graphicalProperties = GraphicalProperties(solidFill=SERIES[at])
        series.graphicalProperties.line.solidFill, series.graphicalProperties.line.width = WHITE, 3175
        series.invertIfNegative = False
        chart.series.append(series)
    _axes(chart)
    if len(labels) > 16 and size[0] < 15:
        chart.x_axis.txPr = _small(700)
    if isinstance(labels[0], date):
        chart.x_axis.number_format = "d" if labels[0].month == labels[-1].month else "d mmm"
    chart.legend.position, chart.legend.txPr = "b", _small()
    if len(shown) == 1:
        chart.legend = None
    if min(min(v) for v in values) > -max(sums) / 50:
        chart.y_axis.scaling.min = 0  # no empty band below the columns for a few cents
    peak = max(range(len(sums)), key=lambda n: sums[n])
    kinds = ", ".join(names[i] for i in shown)
    book.chart(ws, chart, anchor, f"Stacked columns: {kinds}. Highest: {labels[peak]} with {sums[peak]:,.2f}. The figures are on the sheet {sheet}.")


def _axes(chart: BarChart) -> None:
    """Quiet axes: small grey labels, never rotated, no frame."""
    chart.graphical_properties, chart.roundedCorners = _line(None), False
    chart.graphical_properties.noFill = True
    chart.x_axis.delete = chart.y_axis.delete = False
    chart.y_axis.number_format, chart.y_axis.majorGridlines.spPr = "#,##0", _line(RULE)
    chart.y_axis.graphicalProperties, chart.x_axis.graphicalProperties = _line(None), _line(RULE)
    chart.x_axis.tickLblPos, chart.x_axis.majorTickMark, chart.y_axis.majorTickMark = "low", "none", "none"
    chart.x_axis.txPr, chart.y_axis.txPr = _small(), _small()


def _small(size: int = 900) -> RichText:
    look = CharacterProperties(sz=size, solidFill=MUTED)
    return RichText(bodyPr=RichTextProperties(rot=0, vert="horz"), p=[Paragraph(pPr=ParagraphProperties(defRPr=look), endParaRPr=look)])


def _categories(reference: Reference, labels: list[Any]) -> AxDataSource:
    if isinstance(labels[0], date):
        return AxDataSource(numRef=NumRef(f=str(reference), numCache=_numbers([to_excel(day) for day in labels], "d mmm")))
    points = [StrVal(idx=n, v=label) for n, label in enumerate(labels)]
    return AxDataSource(strRef=StrRef(f=str(reference), strCache=StrData(ptCount=len(points), pt=points)))


def _numbers(values: list[Any], code: str = "General") -> NumData:
    return NumData(formatCode=code, ptCount=len(values), pt=[NumVal(idx=n, v=repr(float(value))) for n, value in enumerate(values)])


def _line(color: str | None) -> GraphicalProperties:
    """A line of a colour, or none. Made anew each time: a line with both a fill and no fill is a broken file."""
    properties = GraphicalProperties()
    if color:
        properties.line.solidFill = color
    else:
        properties.line.noFill = True
    return properties
