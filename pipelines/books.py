"""The append-only memory of what people and time did.

`data/books/` is a row of numbered folders. Each holds `entry.json` (what happened, the hash of every file beside it,
the hash of the entry before it) and the Parquet and policy files that belong to it. A folder appears by one rename:
an entry is there whole or not at all, and nothing is ever changed afterwards.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.warehouse import replace_durably, sync, write_parquet


@dataclass(frozen=True)
class Entry:
    """One thing that happened. `facts` is what entry.json says beyond number, kind, files and the chain."""

    number: int
    kind: str  # arrivals, soft_closed, closed, reopened, approved, disputed, dispute_resolved
    folder: Path
    facts: dict[str, Any]
    files: dict[str, str]  # relative path -> sha256
    sha256: str  # of entry.json

    def path(self, name: str) -> Path:
        return self.folder / name


class Books:
    """The books of one home, read once and appended to."""

    def __init__(self, home: Home) -> None:
        self.folder = home.books
        self.entries = [_read(path) for path in sorted(self.folder.glob("[0-9]*/entry.json"))]

    def append(self, kind: str, facts: dict[str, Any], fill: Callable[[Path], None] | None = None) -> Entry:
        """Write one entry; `fill(folder)` puts its files there first. Returns it as it now stands."""
        number = self.entries[-1].number + 1 if self.entries else 1
        label = "-".join(str(facts[key]) for key in ("period", "version") if key in facts)
        part = self.folder / f".{number:06d}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if fill:
            fill(part)
        files = {str(p.relative_to(part)): file_sha256(p) for p in sorted(part.rglob("*")) if p.is_file()}
        entry = {
            "number": number,
            "kind": kind,
            **facts,
            "files": files,
            "previous": self.entries[-1].sha256 if self.entries else None,
        }
        (part / "entry.json").write_text(json.dumps(entry, indent=1, sort_keys=True, default=str) + "\n", encoding="utf-8")
        for path in sorted(part.rglob("*")):
            sync(path)
        sync(part)
        folder = self.folder / "-".join(filter(None, (f"{number:06d}", kind, label)))
        replace_durably(part, folder)
        self.entries.append(_read(folder / "entry.json"))
        return self.entries[-1]

    def of(self, kind: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == kind]

    # periods -------------------------------------------------------------------------------------------------

    def closed(self) -> dict[str, list[Entry]]:
        """Closed versions by period, oldest first; also of a period that was reopened since."""
        found: dict[str, list[Entry]] = {}
        for entry in self.of("closed"):
            found.setdefault(entry.facts["period"], []).append(entry)
        return found

    def state(self, period: str) -> str:
        """open, soft_closed, closed or reopened."""
        state = "open"
        for entry in self.entries:
            if entry.facts.get("period") == period and entry.kind in ("soft_closed", "closed", "reopened"):
                state = entry.kind
        return state

    def next_version(self, period: str) -> int:
        """The version that the period's next close issues."""
        return len(self.closed().get(period, [])) + 1

    def rates(self, period: str) -> dict[str, tuple[str, str | None, str]]:
        """Exchange rates that hold for the period for ever: currency -> rate, its source, the day it was frozen; the first one counts."""
        found: dict[str, tuple[str, str | None, str]] = {}
        for entry in self.entries:
            if entry.kind in ("soft_closed", "closed") and entry.facts["period"] == period:
                for currency, (rate, source) in entry.facts.get("rates", {}).items():
                    found.setdefault(currency, (rate, source, entry.facts["through"]))
        return found

    # verification --------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What has been altered, removed or reordered since it was written: one line each."""
        found: list[str] = []
        previous: str | None = None
        for number, entry in enumerate(self.entries, start=1):
            if entry.number != number or json.loads(entry.path("entry.json").read_bytes())["previous"] != previous:
                found.append(f"{entry.folder.name}: the chain of entries is broken before this one")
            for name, digest in entry.files.items():
                path = entry.path(name)
                if not path.is_file():
                    found.append(f"{entry.folder.name}/{name}: is missing")
                elif file_sha256(path) != digest:
                    found.append(f"{entry.folder.name}/{name}: has been altered")
            for path in sorted(entry.folder.rglob("*")):
                if path.is_file() and path.name != "entry.json" and str(path.relative_to(entry.folder)) not in entry.files:
                    found.append(f"{entry.folder.name}/{path.relative_to(entry.folder)}: does not belong here")
            previous = entry.sha256
        return found


class Arrivals:
    """When each delivery was first seen, and in which order: what "the newest bill wins" goes by."""

    def __init__(self, books: Books, con: duckdb.DuckDBPyConnection, night: date) -> None:
        self.books, self.con, self.night = books, con, night
        files = [str(entry.path("arrivals.parquet")) for entry in books.of("arrivals")]
        select = "select delivery_id, seq, night from read_parquet(?) order by seq"
        rows = con.execute(select, [files]).fetchall() if files else []
        self.known: dict[str, tuple[int, date]] = {delivery: (seq, night) for delivery, seq, night in rows}

    def record(self, seen: Iterable[tuple[str, str, str, str]], again: Container[str] = ()) -> dict[str, tuple[int, date]]:
        """Remember (delivery_id, kind, source, path) for ever; returns each one's place in the order of arrival.

        What arrived before keeps its place, unless it is `again` what a vendor says: then its last place counts.
        """
        seen = list(seen)
        new = {row[0]: row for row in seen if row[0] not in self.known or row[0] in again}
        if new:
            start = max((seq for seq, _ in self.known.values()), default=0) + 1
            rows = [(d, k, s, p, start + i, self.night) for i, (d, k, s, p) in enumerate(new.values())]
            self.con.execute(
                "create or replace temp table new_arrivals(delivery_id varchar, kind varchar, source varchar, path varchar,"
                " seq bigint, night date)"
            )
            self.con.executemany("insert into new_arrivals values (?, ?, ?, ?, ?, ?)", rows)
            select = "select * from new_arrivals order by seq"
            self.books.append(
                "arrivals",
                {"night": self.night, "count": len(rows)},
                lambda folder: write_parquet(self.con, select, folder / "arrivals.parquet") and None,
            )
            self.known |= {row[0]: (row[4], row[5]) for row in rows}
        return {row[0]: self.known[row[0]] for row in seen}


def file_sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _read(path: Path) -> Entry:
    raw = path.read_bytes()
    try:
        facts = json.loads(raw)
        number, kind, files = facts.pop("number"), facts.pop("kind"), facts.pop("files")
    except (ValueError, KeyError):
        raise Refused("is not a readable entry of the books", str(path), "restore data/books/ from a backup") from None
    facts.pop("previous", None)
    return Entry(number, kind, path.parent, facts, files, hashlib.sha256(raw).hexdigest())
