"""The last pass over a saved workbook: cached values, fast rows, alternative texts, and bytes that never vary.

openpyxl computes nothing and stamps the time. This pass reopens the zip in memory and writes it again, part by part.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from html import escape
from io import BytesIO
from typing import Any

from openpyxl.utils import get_column_letter

from pipelines.render.names import cell_text, looks_like_formula

_FORMULA = re.compile(r'<c r="([A-Z]+\d+)"( s="\d+")?(?: t="\w+")?><f>(.*?)</f><v ?(?:/>|></v>)</c>', re.DOTALL)
_STAMPS = re.compile(r"(<dcterms:(?:created|modified)[^>]*>)[^<]*(<)")
_DAY_ZERO = date(1899, 12, 30)


def finish(
    raw: bytes,
    *,
    cached: dict[int, dict[str, Any]],
    tables: dict[int, tuple[int, Iterable[tuple[Any, ...]]]],
    chart_texts: list[str],
    as_of: date | None,
) -> bytes:
    """The finished workbook. `cached`: sheet number (from 1) -> cell -> value. `tables`: sheet number -> (row of the two
    sample rows, plain and quoted, and the rows that replace them). `as_of` is the only date in the document properties.
    """
    stamp = f"{(as_of or date(2000, 1, 1)).isoformat()}T00:00:00Z"
    edits: dict[str, list[Callable[[str], str]]] = {"docProps/core.xml": [lambda xml: _STAMPS.sub(rf"\g<1>{stamp}\2", xml)]}
    for number, values in cached.items():
        edits.setdefault(f"xl/worksheets/sheet{number}.xml", []).append(lambda xml, v=values: _with_values(xml, v))
    for number, (first, rows) in tables.items():
        edits.setdefault(f"xl/worksheets/sheet{number}.xml", []).append(lambda xml, f=first, r=rows: _with_rows(xml, f, r))
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(raw)) as source, zipfile.ZipFile(out, "w") as target:
        for name in sorted(source.namelist(), key=_part_order):
            content = source.read(name)
            texts = list(edits.get(name, ()))
            if name.startswith("xl/drawings/drawing"):
                texts.append(lambda xml: _described(xml, chart_texts))
            elif name.startswith("xl/charts/chart"):
                texts.append(_chart)
            if texts:
                text = content.decode("utf-8")
                for edit in texts:
                    text = edit(text)
                content = text.encode("utf-8")
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o600 << 16, zipfile.ZIP_DEFLATED
            target.writestr(info, content, compresslevel=6)
    return out.getvalue()


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
        return "", number(value)
    return "", str(value)


def number(value: Decimal | float | int) -> str:
    """The shortest text that reads back as the same double."""
    double = float(value)
    return str(int(double)) if double.is_integer() and abs(double) < 1e15 else repr(double)


def _with_rows(xml: str, first: int, rows: Iterable[tuple[Any, ...]]) -> str:
    """Put `rows` in the place of the two sample rows, in their styles; text is always an inline string."""
    plain = re.search(rf'<row r="{first}"[^>]*>(.*?)</row>', xml, re.DOTALL)
    quoted = re.search(rf'<row r="{first + 1}"[^>]*>(.*?)</row>', xml, re.DOTALL)
    assert plain and quoted, "the sample rows are missing"
    styles = [re.findall(r'<c r="([A-Z]+)\d+" s="(\d+)"', match[1]) for match in (plain, quoted)]
    columns = [(f'<c r="{letter}', style, other) for (letter, style), (_, other) in zip(*styles, strict=True)]
    parts, at = [], first
    for row in rows:
        cells = []
        for (head, style, other), value in zip(columns, row, strict=True):
            if value is None:
                continue
            if isinstance(value, str):
                text = cell_text(value)
                chosen = other if looks_like_formula(text) else style
                cells.append(
                    f'{head}{at}" s="{chosen}" t="inlineStr"><is><t xml:space="preserve">{escape(text, quote=False)}</t></is></c>'
                )
            elif isinstance(value, date) and not isinstance(value, datetime):
                cells.append(f'{head}{at}" s="{style}"><v>{(value - _DAY_ZERO).days}</v></c>')
            else:
                cells.append(f'{head}{at}" s="{style}"><v>{number(value)}</v></c>')
        parts.append(f'<row r="{at}">{"".join(cells)}</row>')
        at += 1
    xml = xml[: plain.start()] + "".join(parts) + xml[quoted.end() :]
    last = get_column_letter(len(columns))
    return re.sub(r'(<dimension ref="[A-Z]+\d+:)[A-Z]+\d+(")', rf"\g<1>{last}{max(at - 1, first)}\2", xml, count=1)


def _described(xml: str, texts: list[str]) -> str:
    left = iter(texts)

    def describe(match: re.Match[str]) -> str:
        return f'{match[1]} descr="{escape(cell_text(next(left, "Chart")))}"'

    return re.sub(r'(<(?:xdr:)?cNvPr id="\d+" name="Chart[^"]*")', describe, xml)


def _chart(xml: str) -> str:
    head, body, tail = xml.partition("<plotArea>")
    if body and "<title>" not in head and "autoTitleDeleted" not in head:
        xml = f'{head}<autoTitleDeleted val="1"/>{body}{tail}'
    return re.sub(r'<numFmt formatCode="([^"]*)" ?/>', r'<numFmt formatCode="\1" sourceLinked="0"/>', xml)
