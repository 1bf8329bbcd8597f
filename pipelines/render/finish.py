"""The last pass over a saved workbook: cells with their values, alternative texts, and bytes that never vary.

openpyxl computes nothing, writes cells slowly and stamps the time. This pass reopens the zip in memory and writes it again, part by part.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from html import escape
from io import BytesIO

import polars as pl
from openpyxl.utils import get_column_letter

from pipelines.render import rows
from pipelines.render.names import cell_text

_STAMPS = re.compile(r"(<dcterms:(?:created|modified)[^>]*>)[^<]*(<)")
_LEVEL = 4  # of compression: half the time of the usual 6 for a tenth more bytes
_LARGE = 500_000  # rows of a table from which its part may need the zip format for more than 2 GB


@dataclass(frozen=True)
class Filled:
    """A table whose `count` rows follow each other from row `first` on, made as they are written."""

    first: int
    count: int
    frames: Iterable[pl.DataFrame]
    styles: Sequence[rows.Style]


@dataclass
class Sheet:
    """What stands in a sheet: cells by row and column, heights of rows, and at most one large table with cells above it."""

    cells: dict[int, dict[int, str]] = field(default_factory=dict)
    heights: dict[int, float] = field(default_factory=dict)
    table: Filled | None = None

    @property
    def area(self) -> str:
        """From the first to the last cell."""
        columns = [column for row in self.cells.values() for column in row] or [1]
        first, last = min(self.cells, default=1), max(self.cells, default=1)
        if self.table:
            columns, last = [*columns, len(self.table.styles)], self.table.first + max(self.table.count, 1) - 1
        return f"{get_column_letter(min(columns))}{first}:{get_column_letter(max(columns))}{last}"

    def xml(self) -> Iterator[bytes]:
        lines = []
        for row in sorted(self.cells.keys() | self.heights.keys()):
            height = self.heights.get(row)
            said = f' ht="{rows.number(height)}" customHeight="1"' if height else ""
            cells = self.cells.get(row, {})
            lines.append(f'<row r="{row}"{said}>{"".join(cells[column] for column in sorted(cells))}</row>')
        yield "".join(lines).encode("utf-8")
        if self.table:
            yield from rows.xml(self.table.frames, self.table.styles, self.table.first)


def finish(
    raw: bytes,
    *,
    sheets: dict[int, Sheet],
    chart_texts: list[str],
    as_of: date | None,
) -> bytes:
    """The finished workbook. `sheets`: sheet number (from 1) -> what stands in it. `as_of` is the only date in the document properties."""
    stamp = f"{(as_of or date(2000, 1, 1)).isoformat()}T00:00:00Z"
    edits: dict[str, Callable[[str], str]] = {"docProps/core.xml": lambda xml: _STAMPS.sub(rf"\g<1>{stamp}\2", xml)}
    filled = {f"xl/worksheets/sheet{number}.xml": sheet for number, sheet in sheets.items()}
    texts = iter(chart_texts)
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(raw)) as source, zipfile.ZipFile(out, "w") as target:
        for name in sorted(source.namelist(), key=_part_order):
            content = source.read(name)
            edit = edits.get(name)
            if name.startswith("xl/drawings/drawing"):
                edit = lambda xml: _described(xml, texts)  # noqa: E731
            elif name.startswith("xl/charts/chart"):
                edit = _chart
            if edit:
                content = edit(content.decode("utf-8")).encode("utf-8")
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o600 << 16, zipfile.ZIP_DEFLATED
            info._compresslevel = _LEVEL
            sheet = filled.get(name)
            with target.open(info, "w", force_zip64=bool(sheet and sheet.table and sheet.table.count > _LARGE)) as part:
                for piece in _with_rows(content.decode("utf-8"), sheet) if sheet else [content]:
                    part.write(piece)
    return out.getvalue()


def _part_order(name: str) -> tuple[int, str]:
    return (0 if name == "[Content_Types].xml" else 1 if name == "_rels/.rels" else 2, name)


def _with_rows(xml: str, sheet: Sheet) -> Iterator[bytes]:
    """The sheet in pieces, with its rows."""
    empty = re.search(r"<sheetData ?(?:/>|></sheetData>)", xml)
    assert empty, "a cell was written past the book"
    head = re.sub(r'(<dimension ref=")[^"]*', rf"\g<1>{sheet.area}", xml[: empty.start()], count=1)
    yield f"{head}<sheetData>".encode()
    yield from sheet.xml()
    yield f"</sheetData>{xml[empty.end() :]}".encode()


def _described(xml: str, left: Iterator[str]) -> str:
    def describe(match: re.Match[str]) -> str:
        return f'{match[1]} descr="{escape(cell_text(next(left, "Chart")))}"'

    return re.sub(r'(<(?:xdr:)?cNvPr id="\d+" name="Chart[^"]*")', describe, xml)


def _chart(xml: str) -> str:
    head, body, tail = xml.partition("<plotArea>")
    if body and "<title>" not in head and "autoTitleDeleted" not in head:
        xml = f'{head}<autoTitleDeleted val="1"/>{body}{tail}'
    return re.sub(r'<numFmt formatCode="([^"]*)" ?/>', r'<numFmt formatCode="\1" sourceLinked="0"/>', xml)
