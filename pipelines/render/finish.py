"""The last pass over a saved workbook: cached values, fast rows, alternative texts, and bytes that never vary.

openpyxl computes nothing and stamps the time. This pass reopens the zip in memory and writes it again, part by part.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from html import escape
from io import BytesIO
from typing import Any

import polars as pl
from openpyxl.utils import get_column_letter

from pipelines.render import rows
from pipelines.render.names import cell_text

_FORMULA = re.compile(r'<c r="([A-Z]+\d+)"( s="\d+")?(?: t="\w+")?><f>(.*?)</f><v ?(?:/>|></v>)</c>', re.DOTALL)
_STAMPS = re.compile(r"(<dcterms:(?:created|modified)[^>]*>)[^<]*(<)")
_LARGE = 500_000  # rows of a table from which its part may need the zip format for more than 2 GB


@dataclass(frozen=True)
class Filled:
    """A table whose rows the last pass writes in place of two sample rows, plain and quoted, from row `first` on."""

    first: int
    count: int
    frames: Iterable[pl.DataFrame]


def finish(
    raw: bytes,
    *,
    cached: dict[int, dict[str, Any]],
    tables: dict[int, Filled],
    chart_texts: list[str],
    as_of: date | None,
) -> bytes:
    """The finished workbook. `cached`: sheet number (from 1) -> cell -> value. `tables`: sheet number -> its table.
    `as_of` is the only date in the document properties.
    """
    stamp = f"{(as_of or date(2000, 1, 1)).isoformat()}T00:00:00Z"
    edits: dict[str, Callable[[str], str]] = {"docProps/core.xml": lambda xml: _STAMPS.sub(rf"\g<1>{stamp}\2", xml)}
    for number, values in cached.items():
        edits[_sheet(number)] = lambda xml, v=values: _with_values(xml, v)
    filled = {_sheet(number): table for number, table in tables.items()}
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
            table = filled.get(name)
            with target.open(info, "w", force_zip64=table is not None and table.count > _LARGE) as part:
                for piece in _with_rows(content.decode("utf-8"), table) if table else [content]:
                    part.write(piece)
    return out.getvalue()


def _sheet(number: int) -> str:
    return f"xl/worksheets/sheet{number}.xml"


def _part_order(name: str) -> tuple[int, str]:
    return (0 if name == "[Content_Types].xml" else 1 if name == "_rels/.rels" else 2, name)


def _with_values(xml: str, values: dict[str, Any]) -> str:
    def replace(match: re.Match[str]) -> str:
        ref, style, formula = match[1], match[2] or "", match[3]
        kind, text = _value(values[ref])
        return f'<c r="{ref}"{style}{kind}><f>{formula}</f><v>{text}</v></c>'

    return _FORMULA.sub(replace, xml)


def _value(value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return ' t="str"', escape(cell_text(value), quote=False)
    if isinstance(value, Decimal | float):
        return "", rows.number(value)
    return "", str(value)


def _with_rows(xml: str, table: Filled) -> Iterator[bytes]:
    """The sheet in pieces, the table's rows in the place of the two sample rows and in their styles."""
    first = table.first
    plain = re.search(rf'<row r="{first}"[^>]*>(.*?)</row>', xml, re.DOTALL)
    quoted = re.search(rf'<row r="{first + 1}"[^>]*>(.*?)</row>', xml, re.DOTALL)
    assert plain and quoted, "the sample rows are missing"
    pairs = zip(*(re.findall(r'<c r="([A-Z]+)\d+" s="(\d+)"', match[1]) for match in (plain, quoted)), strict=True)
    styles = [(letter, style, other) for (letter, style), (_, other) in pairs]
    area = rf"\g<1>{get_column_letter(len(styles))}{first + max(table.count, 1) - 1}\2"
    yield re.sub(r'(<dimension ref="[A-Z]+\d+:)[A-Z]+\d+(")', area, xml[: plain.start()], count=1).encode("utf-8")
    yield from rows.xml(table.frames, styles, first)
    yield xml[quoted.end() :].encode("utf-8")


def _described(xml: str, left: Iterator[str]) -> str:
    def describe(match: re.Match[str]) -> str:
        return f'{match[1]} descr="{escape(cell_text(next(left, "Chart")))}"'

    return re.sub(r'(<(?:xdr:)?cNvPr id="\d+" name="Chart[^"]*")', describe, xml)


def _chart(xml: str) -> str:
    head, body, tail = xml.partition("<plotArea>")
    if body and "<title>" not in head and "autoTitleDeleted" not in head:
        xml = f'{head}<autoTitleDeleted val="1"/>{body}{tail}'
    return re.sub(r'<numFmt formatCode="([^"]*)" ?/>', r'<numFmt formatCode="\1" sourceLinked="0"/>', xml)
