"""Many small files as one: a folder with an object per request is a night's batch, not a hundred thousand deliveries.

The files of a batch follow each other in one scratch file of lines, each without its blank lines and byte order mark, and
a reader sees that. Afterwards every row says again in which file and on which line it stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from pipelines.content import BOM, Content, read_bytes
from pipelines.errors import Refused
from pipelines.sets import File

MANY = 50  # new small files of a source, from which on they are one delivery
SMALL = 256 << 10  # bytes as landed
UNPACKED = 4 << 20  # bytes of the content of such a file
TOGETHER = 4 << 30  # bytes of the content of one batch: the scratch file holds them


@dataclass
class Runs:
    """Where the lines of a scratch file come from: from row `row` and byte `byte` on, line `line` and the following ones of `path`."""

    row: list[int] = field(default_factory=list)
    byte: list[int] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    rows: int = 0

    def add(self, path: str, line: int, count: int, byte: int) -> None:
        self.row.append(self.rows + 1)
        self.byte.append(byte)
        self.path.append(path)
        self.line.append(line)
        self.rows += count


def are_small(file: File, content: Content) -> bool:
    return file.bytes <= SMALL and content.size <= UNPACKED


def chunks(contents: Sequence[Content]) -> Iterable[slice]:
    """Slices of the files that are one batch each."""
    start = size = 0
    for n, content in enumerate(contents):
        if size + content.size > TOGETHER and n > start:
            yield slice(start, n)
            start, size = n, 0
        size += content.size
    yield slice(start, len(contents))


def join(files: Sequence[File], contents: Sequence[Content], target: Path) -> Runs:
    """Write the lines of the files, as they were when `contents` was taken, into `target`."""
    runs = Runs()
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as out:
        for file, content in zip(files, contents, strict=True):
            data = read_bytes(file.path)
            if hashlib.sha256(data).digest().hex() != content.sha256:
                raise Refused("the file changed while it was read", file.name, "write under a hidden name, then rename it")
            data = data.removeprefix(BOM)
            if not content.blank:
                runs.add(file.name, 1, content.lines, out.tell())
                out.write(data if data.endswith(b"\n") else data + b"\n")
                continue
            for number, line in enumerate(data.split(b"\n"), 1):
                if line and not line.isspace():
                    runs.add(file.name, number, 1, out.tell())
                    out.write(line + b"\n")
    return runs


def say_where(con: duckdb.DuckDBPyConnection, runs: Runs) -> None:
    """`parsed` with `source_file`, and with `source_row` as the physical line of that file; `ignored` with `source_file`."""
    con.execute(
        "create or replace temp table runs as select unnest($row)::bigint as first_row, unnest($byte)::bigint as first_byte,"
        " unnest($path)::varchar as source_file, unnest($line)::bigint as line",
        {"row": runs.row, "byte": runs.byte, "path": runs.path, "line": runs.line},
    )
    con.execute(
        "create or replace temp table parsed as select p.* replace (p.source_row - r.first_row + r.line as source_row), r.source_file"
        " from parsed p asof join runs r on p.source_row >= r.first_row"
    )
    if con.execute("select count(*) from duckdb_tables() where table_name = 'ignored' and temporary").fetchall()[0][0]:
        con.execute(
            "create or replace temp table ignored as select i.*, r.source_file from ignored i asof join runs r on i.place >= r.first_byte"
        )
    con.execute("drop table runs")

