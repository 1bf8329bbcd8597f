"""What the tests of gateway readers share: a file read by its format, and every row of `parsed` as a dict."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipelines.content import inspect
from pipelines.sources import EVENT, Delivery, registry
from pipelines.warehouse import memory

METERS = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "avoided_input", "avoided_output")


def parse(tmp_path: Path, data: bytes, name: str, **entry: Any) -> list[dict[str, Any]]:
    path = tmp_path / name
    path.write_bytes(data)
    content = inspect(path, name)
    source = SimpleNamespace(name="s", **entry)
    with memory() as con:
        delivery = Delivery("0" * 64, "gateway", "s", (path,), content.lines, content.blank)
        registry.FORMATS[entry["format"]].read(con, delivery, source)
        assert [(c[0], c[1]) for c in con.execute("describe parsed").fetchall()] == [
            *EVENT.items(), ("source_row", "BIGINT"), ("reject", "VARCHAR"),
        ]  # fmt: skip
        columns = [*EVENT, "source_row", "reject"]
        return [dict(zip(columns, row, strict=True)) for row in con.execute("select * from parsed order by source_row").fetchall()]


def tokens(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[f"{meter}_tokens"] for meter in METERS)
