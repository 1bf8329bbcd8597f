"""Cells and rows as the XML of a worksheet: one by one, or the rows of a large table a batch at a time, so that memory does not grow with them.

A column's type says what its cells are. Every distinct text of a table is made safe once; text is always an inline string, never a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from html import escape
from typing import Any, NamedTuple

import duckdb
import polars as pl

from pipelines.render.names import cell_text, looks_like_formula

BATCH = 10_000
_DAY_ZERO = date(1899, 12, 30)


class Style(NamedTuple):
    """A column of a table: its letter, the style of its cells, that of a text that looks like a formula, the word for a text."""

    letter: str
    plain: int
    quoted: int
    say: Callable[[str], str | None] | None = None


def of_query(con: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pl.DataFrame]:
    """The rows of a query, in batches."""
    for batch in con.sql(sql).to_arrow_reader(BATCH):
        if batch.num_rows:
            yield pl.from_arrow(batch)  # type: ignore[misc]


def of_tuples(rows: Sequence[tuple[Any, ...]]) -> Iterator[pl.DataFrame]:
    """Rows held in memory, as one batch; a column of Decimals and integers has the scale of its finest value."""
    if rows:
        columns = list(zip(*rows, strict=True))
        yield pl.DataFrame({str(number): _series(values) for number, values in enumerate(columns)})


def _series(values: tuple[Any, ...]) -> pl.Series:
    known = [value for value in values if value is not None]
    if any(isinstance(value, Decimal) for value in known):
        scale = max([0, *(-int(value.as_tuple().exponent) for value in known if isinstance(value, Decimal))])
        return pl.Series(values=[None if value is None else Decimal(value) for value in values], dtype=pl.Decimal(38, scale))
    kind = pl.String if not known or any(isinstance(value, str) for value in known) else None
    return pl.Series(values=values, dtype=kind)


def number(value: Decimal | float | int) -> str:
    """The shortest text that reads back as the same double."""
    double = float(value)
    return str(int(double)) if double.is_integer() and abs(double) < 1e15 else repr(double)


def cell(at: str, style: int, value: Any) -> str:
    """One cell; None or no text is an empty one in its style."""
    if value is None or value == "":
        return f'<c r="{at}" s="{style}"/>'
    if isinstance(value, str):
        return f'<c r="{at}" s="{style}"{_inline(value)}</c>'
    return f'<c r="{at}" s="{style}"><v>{_plain(value)}</v></c>'


def formula(at: str, style: int, formula: str, value: Any) -> str:
    """One cell that computes, with the value it has: what viewers that do not calculate show."""
    kind, text = (' t="str"', escape(cell_text(value), quote=False)) if isinstance(value, str) else ("", _plain(value))
    return f'<c r="{at}" s="{style}"{kind}><f>{escape(formula, quote=False)}</f><v>{text}</v></c>'


def _plain(value: Decimal | float | date) -> str:
    return str((value - _DAY_ZERO).days) if isinstance(value, date) else number(value)


def _inline(text: str) -> str:
    """The rest of a text's cell, from its type on; `text` is safe already."""
    kept = ' xml:space="preserve"' if text != text.strip() else ""
    return f' t="inlineStr"><is><t{kept}>{escape(text, quote=False)}</t></is>'


def xml(frames: Iterable[pl.DataFrame], styles: Sequence[Style], first: int) -> Iterator[bytes]:
    """`<row>` elements from row `first` on. A null has no cell."""
    for frame in frames:
        at = pl.Series(values=range(first, first + frame.height)).cast(pl.String)
        cells = [_cells(series, style, at) for series, style in zip(frame.iter_columns(), styles, strict=True)]
        lines = pl.select(pl.concat_str([pl.lit('<row r="'), at, pl.lit('">'), *cells, pl.lit("</row>")]).str.join("")).item()
        yield lines.encode("utf-8")
        first += frame.height


def _cells(series: pl.Series, style: Style, at: pl.Series) -> pl.Expr:
    if series.dtype == pl.String:
        texts = series.drop_nulls().unique()
        rest: Any = series.replace_strict(texts, [_text(text, style) for text in texts], default=None, return_dtype=pl.String)
    else:
        rest = pl.concat_str([pl.lit(f'" s="{style.plain}"><v>'), _numbers(series), pl.lit("</v></c>")])
    return pl.concat_str([pl.lit(f'<c r="{style.letter}'), at, rest]).fill_null("")


def _text(text: str, style: Style) -> str:
    clean = cell_text((style.say(text) if style.say else None) or text)
    return f'" s="{style.quoted if looks_like_formula(clean) else style.plain}"{_inline(clean)}</c>'


def _numbers(series: pl.Series) -> pl.Series:
    """Numbers as XML has them, with all their digits; a day as the days since 30 December 1899."""
    if series.dtype == pl.Date:
        return (series - _DAY_ZERO).dt.total_days().cast(pl.String)
    if isinstance(series.dtype, pl.Decimal) and series.dtype.scale:
        return series.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    if series.dtype.is_float():
        return pl.Series(values=[None if value is None else number(value) for value in series], dtype=pl.String)
    return series.cast(pl.String)
