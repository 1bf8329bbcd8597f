"""A workbook in our look: cells, bands, tiles, tables. Every formula is written together with its value."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from io import BytesIO
from typing import Any
from zipfile import ZipFile

os.environ.setdefault("OPENPYXL_LXML", "False")  # with or without lxml: the same bytes

import polars as pl
from openpyxl import Workbook
from openpyxl.drawing.spreadsheet_drawing import SpreadsheetDrawing
from openpyxl.formatting.rule import CellIsRule
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.styles.cell_style import StyleArray
from openpyxl.styles.differential import DifferentialStyle
from openpyxl.styles.numbers import BUILTIN_FORMATS_MAX_SIZE, BUILTIN_FORMATS_REVERSE
from openpyxl.utils import get_column_letter as letter
from openpyxl.utils.indexed_list import IndexedList
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet._writer import WorksheetWriter
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.table import Table, TableStyleInfo
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.writer.excel import ExcelWriter

from pipelines.render import rows
from pipelines.render.finish import Filled, Sheet, finish
from pipelines.render.names import cell_text, clip, looks_like_formula

NAVY, TEAL, INK, MUTED, RULE, PANEL, WHITE = "14304F", "0F7B8A", "1F2937", "5B6573", "D1D5DB", "F3F6F9", "FFFFFF"
SERIES = (NAVY, TEAL, "8CC5C9", "C77B1E", "AEBBC8")
GOOD, GOOD_FILL, BAD, BAD_FILL = "166B3F", "DDF3E4", "B42318", "FDECEA"

MONEY = '#,##0.00_);(#,##0.00);"–"_)'
EXACT = '#,##0.000000_);(#,##0.000000);"–"_)'
CHANGE = '+#,##0.00_);-#,##0.00_);"–"_)'
COUNT = '#,##0_);(#,##0);"–"_)'
QUANTITY = '#,##0.0000_);(#,##0.0000);"–"_)'
SHARE = '0.0000%_);-0.0000%_);"–"_)'
DAY, SHORT_DAY = "yyyy-mm-dd", "ddd d mmm"
LINE_HEIGHT = 15.5
MOST_ON_A_PAGE = 66
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


def symbol(currency: str) -> str:
    return _SYMBOLS.get(currency, f"{currency} ")


def with_symbol(currency: str, digits: str = "#,##0.00") -> str:
    """A number format that shows the currency: its symbol, else its code."""
    sign = symbol(currency)
    return f'"{sign}"{digits};-"{sign}"{digits}'


def text_lines(text: str, width: float, size: float) -> int:
    """How many lines wrapped text takes in a column of `width`, at most twelve; words break early, so it is a bit generous."""
    return min(12, max(1, -(-len(text) // max(1, int(width * 12 / size)))))


@dataclass(frozen=True)
class Look:
    """How a cell looks. Equal looks share one style."""

    format: str = "General"
    bold: bool = False
    size: float = 10
    color: str = INK
    fill: str | None = None
    align: str | None = None
    valign: str = "center"
    indent: int = 0
    wrap: bool = False
    shrink: bool = False
    top: tuple[str, str] | None = None  # (style, color)
    bottom: tuple[str, str] | None = None
    left: tuple[str, str] | None = None
    link: bool = False


TEXT = Look()
NOTE = Look(size=9, color=MUTED)
HEAD = Look(bold=True, size=9, color=WHITE, fill=NAVY, wrap=True)
SECTION = Look(bold=True, size=11, color=NAVY, bottom=("medium", TEAL))
GROUP = Look(bold=True, color=NAVY, fill=PANEL)


@dataclass(frozen=True)
class Column:
    """One column of a block: heading, width, look of its cells; of a table also the word for each of its texts."""

    title: str
    width: float
    look: Look = TEXT
    say: Callable[[str], str | None] | None = None

    @property
    def is_number(self) -> bool:
        return self.look.format not in ("General", DAY, SHORT_DAY)

    def height(self, value: Any) -> float:
        """The height that a value needs: more than one line only where its column wraps."""
        lines = text_lines(value, self.width, self.look.size) if self.look.wrap and isinstance(value, str) else 1
        return LINE_HEIGHT if lines == 1 else 13.0 * lines + 4


@dataclass(frozen=True)
class Stamp:
    """What the head of every sheet says."""

    statement_id: str
    subtitle: str
    state: str
    as_of: date | None


class Book:
    """Builds one workbook; `save` gives its bytes, always the same for the same content."""

    def __init__(self, stamp: Stamp) -> None:
        self.stamp = stamp
        self.wb = Workbook()
        self.wb.remove(self.wb.active)
        self.computed: dict[str, dict[str, Any]] = {}  # sheet -> cell of a formula -> its value
        self._sheets: dict[str, Sheet] = defaultdict(Sheet)
        self._styles: dict[tuple[Look, bool], int] = {}
        self._parts: dict[Any, int] = {}
        self._links: dict[str, list[Hyperlink]] = defaultdict(list)
        self._chart_texts: dict[str, list[str]] = {}

    def sheet(self, title: str, heading: str, widths: Sequence[float], tall: bool = True) -> Worksheet:
        """A sheet with the navy band in rows 1 and 2; columns from B, A is the margin."""
        ws = self.wb.create_sheet(title)
        ws.sheet_view.showGridLines = False
        ws.sheet_view.zoomScale = 100
        ws.sheet_properties.tabColor = NAVY if title in ("Summary", "Statement", "Statements") else TEAL
        ws.column_dimensions["A"].width = 1.8
        for number, width in enumerate(widths, start=2):
            ws.column_dimensions[letter(number)].width = width
        last = len(widths) + 1
        for row, height in ((1, 30), (2, 20), (3, 8)):
            self.height(ws, row, height)
        band = Look(color=WHITE, fill=NAVY)
        for row in (1, 2):
            for column in range(1, last + 1):
                self.put(ws, row, column, None, band)
        room = int(sum(widths) * 1.3)
        head, small, right = replace(band, size=18, bold=True), replace(band, color="D6DEE7", valign="top"), {"align": "right", "indent": 1}
        self.put(ws, 1, 2, heading, head)
        self.put(ws, 2, 2, clip(self.stamp.subtitle, room - len(self.stamp.statement_id)), small)
        self.put(ws, 1, last, self.stamp.state, replace(band, size=11, bold=True, valign="bottom", **right))
        self.put(ws, 2, last, clip(self.stamp.statement_id, room // 2), replace(small, size=9, **right))
        self.print_setup(ws, title, tall)
        return ws

    def print_setup(self, ws: Worksheet, title: str, tall: bool) -> None:
        ws.page_setup.orientation, ws.page_setup.paperSize = "landscape", ws.PAPERSIZE_A4
        ws.sheet_properties.pageSetUpPr.fitToPage = True
        ws.page_setup.fitToWidth, ws.page_setup.fitToHeight = 1, 0 if tall else 1
        margins = ws.page_margins
        margins.left = margins.right = 0.4
        margins.top, margins.bottom, margins.footer = 0.4, 0.6, 0.3
        ws.print_options.horizontalCentered = True
        for part, text in ((ws.oddFooter.left, self.stamp.statement_id.replace("&", "&&")), (ws.oddFooter.center, title)):
            part.text, part.size = cell_text(text)[:80], 8
        ws.oddFooter.right.text, ws.oddFooter.right.size = "Page &P of &N", 8

    def one_page(self, ws: Worksheet, rows: int) -> None:
        """Print on one page what still can be read there; more goes on as many pages as it takes."""
        ws.page_setup.fitToHeight = 1 if rows <= MOST_ON_A_PAGE else 0

    def put(self, ws: Worksheet, row: int, column: int, value: Any, look: Look = TEXT) -> None:
        """Write one value. Text is never a formula, whatever it starts with."""
        quoted = False
        if isinstance(value, str):
            value = cell_text(value)
            quoted = looks_like_formula(value)
        self._write(ws, row, column, rows.cell(f"{letter(column)}{row}", self._style(look, quoted), value))

    def formula(self, ws: Worksheet, row: int, column: int, formula: str, value: Any, look: Look = TEXT) -> None:
        """Write a formula and the value it has; the value is what viewers that do not calculate show."""
        at = f"{letter(column)}{row}"
        self.computed.setdefault(ws.title, {})[at] = value
        self._write(ws, row, column, rows.formula(at, self._style(look, False), formula, value))

    def _write(self, ws: Worksheet, row: int, column: int, cell: str) -> None:
        self._sheets[ws.title].cells.setdefault(row, {})[column] = cell

    def height(self, ws: Worksheet, row: int, height: float) -> None:
        self._sheets[ws.title].heights[row] = height

    def link(self, ws: Worksheet, row: int, column: int, text: str, sheet: str) -> None:
        self.put(ws, row, column, text, Look(size=9, color=TEAL, link=True))
        self._links[ws.title].append(Hyperlink(ref=f"{letter(column)}{row}", location=f"'{sheet}'!A1"))

    def _style(self, look: Look, quoted: bool) -> int:
        """The number of a look in the file; each of its parts is made once."""
        known = self._styles.get((look, quoted))
        if known is None:
            wb, style = self.wb, StyleArray()
            style.fontId = self._part(wb._fonts, _font, look.size, look.bold, look.color, look.link)
            style.fillId = self._part(wb._fills, _fill, look.fill) if look.fill else 0
            style.borderId = self._part(wb._borders, _border, look.top, look.bottom, look.left) if look.top or look.bottom or look.left else 0
            style.alignmentId = self._part(wb._alignments, _alignment, look.align, look.valign, look.indent, look.wrap, look.shrink)
            builtin = BUILTIN_FORMATS_REVERSE.get(look.format)
            style.numFmtId = builtin if builtin is not None else wb._number_formats.add(look.format) + BUILTIN_FORMATS_MAX_SIZE
            style.quotePrefix = int(quoted)
            known = self._styles[look, quoted] = wb._cell_styles.add(style)
        return known

    def _part(self, held: IndexedList[Any], make: Callable[..., Any], *chosen: Any) -> int:
        known = self._parts.get((make, chosen))
        if known is None:
            known = self._parts[make, chosen] = held.add(make(*chosen))
        return known

    def merge(self, ws: Worksheet, row: int, first: int, last: int) -> None:
        """One cell over several columns. Their borders are those that they have: openpyxl's own way compares them side by side."""
        ws.merged_cells.add(f"{letter(first)}{row}:{letter(last)}{row}")

    def section(self, ws: Worksheet, row: int, first: int, last: int, title: str) -> None:
        """A heading with a teal rule under it."""
        self.height(ws, row, 20)
        for column in range(first, last + 1):
            self.put(ws, row, column, title if column == first else None, SECTION)

    def header(self, ws: Worksheet, row: int, columns: Sequence[Column], first: int = 2, height: float = 24) -> None:
        self.height(ws, row, height)
        for number, column in enumerate(columns, start=first):
            look = replace(HEAD, align="right", indent=1) if column.is_number else replace(HEAD, align=column.look.align, indent=column.look.indent)
            self.put(ws, row, number, column.title, look)

    def line(self, ws: Worksheet, row: int, columns: Sequence[Column], values: Sequence[Any], first: int = 2, **change: Any) -> None:
        """One row of a block. A value (formula, value) is a formula. `change` alters the look of every cell."""
        self.height(ws, row, max(column.height(value) for column, value in zip(columns, values, strict=True)))
        changes = tuple({"bottom": ("hair", RULE), **change}.items())
        for number, (column, value) in enumerate(zip(columns, values, strict=True), start=first):
            look = _changed(column.look, changes)
            if look.format == QUANTITY and isinstance(value, Decimal) and value == value.to_integral_value():
                look = _changed(look, (("format", COUNT),))
            elif column.is_number and isinstance(value, str) and not look.align:  # n/a stands where the number would
                look = _changed(look, (("align", "right"),))
            if isinstance(value, tuple):
                self.formula(ws, row, number, value[0], value[1], look)
            else:
                self.put(ws, row, number, value, look)

    def total(self, ws: Worksheet, row: int, columns: Sequence[Column], values: Sequence[Any], first: int = 2) -> None:
        rule = ("medium", NAVY)
        self.line(ws, row, columns, values, first, bold=True, color=NAVY, top=rule, bottom=rule, wrap=False)
        self.height(ws, row, 18)

    def good_or_bad(self, ws: Worksheet, area: str) -> None:
        """Green for OK, red for CHECK, besides the word itself."""
        for word, color, fill in (("OK", GOOD, GOOD_FILL), ("CHECK", BAD, BAD_FILL)):
            rule = CellIsRule(operator="equal", formula=[f'"{word}"'])
            rule.dxf = DifferentialStyle(font=Font(color=color, bold=True), fill=PatternFill(bgColor=fill, fill_type="solid"))
            ws.conditional_formatting.add(area, rule)

    def red_unless_zero(self, ws: Worksheet, area: str) -> None:
        rule = CellIsRule(operator="notEqual", formula=["0"])
        rule.dxf = DifferentialStyle(font=Font(color=BAD, bold=True), fill=PatternFill(bgColor=BAD_FILL, fill_type="solid"))
        ws.conditional_formatting.add(area, rule)

    def tile(self, ws: Worksheet, row: int, column: int, label: str, value: Any, look: Look, note: str) -> None:
        """A figure in three rows and three columns, from (row, column); `value` may be (formula, value)."""
        for offset, height in enumerate((16, 30, 17)):
            self.height(ws, row + offset, height)
            for c in range(column, column + 3):
                edge = ("thick", TEAL) if c == column else None
                self.put(ws, row + offset, c, None, Look(fill=PANEL, left=edge))
            self.merge(ws, row + offset, column, column + 2)
        base = Look(fill=PANEL, left=("thick", TEAL), indent=1, align="left")
        self.put(ws, row, column, label, replace(base, size=9, bold=True, color=MUTED))
        figure = replace(base, size=22, bold=True, color=NAVY, format=look.format)
        if isinstance(value, tuple):
            self.formula(ws, row + 1, column, value[0], value[1], figure)
        else:
            self.put(ws, row + 1, column, value, figure)
        self.put(ws, row + 2, column, note, replace(base, size=9, color=MUTED))

    def table(self, ws: Worksheet, row: int, name: str, columns: Sequence[Column], count: int, frames: Iterable[pl.DataFrame]) -> None:
        """A real Excel table with filters, headings in `row` from column A; its `count` rows are written by the last pass."""
        self.header(ws, row, columns, first=1, height=30)
        for number, column in enumerate(columns, start=1):
            ws.column_dimensions[letter(number)].width = column.width
        table = Table(displayName=name, name=name, ref=f"A{row}:{letter(len(columns))}{row + max(count, 1)}")
        table.tableStyleInfo = TableStyleInfo(name="TableStyleLight1", showRowStripes=True)
        table._initialise_columns()  # else openpyxl makes a cell for every row of the table
        for named, column in zip(table.tableColumns, columns, strict=True):
            named.name = column.title
        ws.add_table(table)
        ws.print_title_rows = f"{row}:{row}"
        styles = [rows.Style(letter(number), self._style(column.look, False), self._style(column.look, True), column.say) for number, column in enumerate(columns, start=1)]
        self._sheets[ws.title].table = Filled(row + 1, count, frames, styles)

    def chart(self, ws: Worksheet, chart: Any, anchor: str, text: str) -> None:
        ws.add_chart(chart, anchor)
        self._chart_texts.setdefault(ws.title, []).append(text)

    def name(self, name: str, sheet: str, cell: str) -> None:
        self.wb.defined_names[name] = DefinedName(name, attr_text=f"'{sheet}'!${cell[0]}${cell[1:]}")

    def save(self, title: str) -> bytes:
        self.wb.properties.creator, self.wb.properties.title = "apportion", cell_text(title)
        self.wb.calculation.fullCalcOnLoad, self.wb.calculation.calcId = True, 191029
        raw = BytesIO()
        with ZipFile(raw, "w") as parts:
            _Parts(self.wb, parts, self._links).write_data()
        number = {sheet: at for at, sheet in enumerate(self.wb.sheetnames, start=1)}
        return finish(
            raw.getvalue(),
            sheets={number[title]: sheet for title, sheet in self._sheets.items()},
            chart_texts=[text for sheet in self.wb.sheetnames for text in self._chart_texts.get(sheet, ())],
            as_of=self.stamp.as_of,
        )


class _Parts(ExcelWriter):
    """Writes the parts of a workbook as openpyxl does, uncompressed and without a file for each sheet; the cells are not openpyxl's."""

    def __init__(self, wb: Workbook, archive: ZipFile, links: dict[str, list[Hyperlink]]) -> None:
        super().__init__(wb, archive)
        self._links = links

    def write_worksheet(self, ws: Worksheet) -> None:
        ws._drawing = SpreadsheetDrawing()
        ws._drawing.charts = ws._charts
        writer = WorksheetWriter(ws, BytesIO())
        ws._hyperlinks = self._links[ws.title]
        writer.write()
        ws._rels = writer._rels
        self._archive.writestr(ws.path[1:], writer.read())
        self.manifest.append(ws)


def _font(size: float, bold: bool, color: str, link: bool) -> Font:
    return Font(name="Calibri", size=size, bold=bold, color=color, underline="single" if link else None)


def _fill(color: str) -> PatternFill:
    return PatternFill("solid", fgColor=color)


def _border(*sides: tuple[str, str] | None) -> Border:
    return Border(**{name: Side(style=side[0], color=side[1]) for name, side in zip(("top", "bottom", "left"), sides, strict=True) if side})


def _alignment(align: str | None, valign: str, indent: int, wrap: bool, shrink: bool) -> Alignment:
    return Alignment(horizontal=align or ("left" if indent else None), vertical=valign, indent=indent, wrap_text=wrap, shrink_to_fit=shrink)


@lru_cache(maxsize=2_000)
def _changed(look: Look, changes: tuple[tuple[str, Any], ...]) -> Look:
    return replace(look, **dict(changes))
