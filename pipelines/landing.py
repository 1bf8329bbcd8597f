"""LAND: everything new under data/landing, each delivery once and in one transaction.

A delivery is one file, one set of pages, one set that a manifest lists (sets.py), or a night's many small files of a gateway
(small_files.py). First every new or changed file is read byte by byte (content.py), then the
order of arrival goes into the books, then each delivery is read by its format into one Parquet file of the lake; its
rows in the bookkeeping say that it counts. A kill in between leaves at most a lake file without a row, which the next
run removes. What is refused is said every night until the file changes or goes; it stops nothing else.

States of source_files: landed (each file of many small ones, with its own counts); page (a further file of a landed set); same_content (landed already, from another path);
metadata (it describes files beside it);
waiting (a set that is not whole yet); held (a bill that falls short of the one it replaces, or claims days of another source); superseded (a set that a newer one overtook before it landed); refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache, cached_property
from itertools import groupby, islice, repeat, tee
from operator import itemgetter
from pathlib import Path
from time import monotonic
from typing import Any

import duckdb

from pipelines import duplicates, overlaps, sets, shrinking, small_files, traces
from pipelines.books import Arrivals
from pipelines.content import MAX_DOCUMENT, MAX_LINE, Content, Line, inspect, locate, open_content, without_bom
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.sets import File
from pipelines.sources import KINDS, SHAPES, Delivery, FileRule, Format, registry
from pipelines.warehouse import sync, transaction, write_parquet

TEMPORARY = (".tmp", ".part", ".partial", ".crdownload", "~")
# What sources.yaml says of a source after reading: a change of it does not mean that files are read again.
NOT_READ = {"accounts", "serving", "activities", "scope", "legal_entity", "final_after_days", "serving_namespaces", "record",
            "provider", "vector_index_id", "accept", "shrink_limit"}  # fmt: skip

AT_ONCE = 20_000  # rows of the quarantine
INFLATED = 4 << 30  # bytes of one file that scratch holds inflated, and at most half of what the disk has left

Say = Callable[[str], None]


@dataclass
class LandingReport:
    """What one run of landing did."""

    refused: list[Refused] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    new: int = 0  # deliveries landed now
    lines: int = 0
    good: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Found:
    """A delivery that was read byte by byte, and how its rows are to be read."""

    files: tuple[File, ...]
    contents: tuple[Content, ...]
    entry: Any  # of sources.yaml
    format: Format
    reader: str
    parts: tuple[sets.Part, ...] = ()  # what each manifest lists; the manifests are the last of the files
    many: bool = False  # small files that are read as one
    beside: tuple[Path, ...] = ()  # what describes the files

    @property
    def data(self) -> int:
        """How many of the files are read: all but the manifests."""
        return len(self.files) - sum(len(part.manifests) for part in self.parts)

    @property
    def plain(self) -> tuple[Path, ...]:
        """Where the files are read: a copy that is inflated already, or the file as it landed."""
        return tuple(content.plain or file.path for file, content in zip(self.files, self.contents, strict=True))

    @property
    def as_landed(self) -> Found:
        """The same, to be read later: the next file takes the place of an inflated copy."""
        return replace(self, contents=tuple(replace(content, plain=None) for content in self.contents))

    @property
    def lines(self) -> int:
        return sum(content.lines for content in self.contents[: self.data])

    @property
    def blank(self) -> int:
        return sum(content.blank for content in self.contents[: self.data])

    @property
    def kind(self) -> str:
        return self.files[0].kind

    @property
    def source(self) -> str:
        return self.files[0].source

    @cached_property
    def delivery_id(self) -> str:
        parts = [self.kind, self.source, *sorted({content.sha256 for content in self.contents})]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """The bookkeeping of landing, where it is missing."""
    con.execute(
        """
        create table if not exists source_files(
            kind varchar, source varchar, path varchar, delivery_id varchar, format varchar, state varchar, reason varchar,
            file_sha256 varchar, bytes bigint, modified_ns bigint, lines bigint, blank bigint, good bigint, rejected bigint,
            inserted bigint, duplicate bigint, superseded bigint, conflict bigint, first_day date, last_day date,
            seq bigint, night date, reader varchar, lake_file varchar, discarded_cost decimal(38, 30));
        alter table source_files add column if not exists content_sha256 varchar;
        alter table source_files add column if not exists ignored_fields bigint;
        alter table source_files add column if not exists ignored_lines bigint;
        create table if not exists quarantine(
            kind varchar, source varchar, path varchar, delivery_id varchar, source_row bigint, byte_offset bigint,
            byte_length bigint, line_sha256 varchar, reason varchar);
        create table if not exists delivery_days(delivery_id varchar, kind varchar, source varchar, usage_date date, rows bigint);
        create table if not exists bill_coverage(
            delivery_id varchar, source varchar, billing_account_id varchar, billing_period varchar, usage_date date);
        create table if not exists usage_coverage(
            delivery_id varchar, source varchar, report varchar, billing_account_id varchar, usage_date date);
        create table if not exists event_losers(
            source varchar, event_id varchar, delivery_id varchar, source_file varchar, source_row bigint, usage_date date, outcome varchar);
        """
    )
    traces.prepare(con)
    columns = con.execute("select column_name from duckdb_columns() where table_name = 'event_losers'").fetchall()
    if ("source_file",) not in columns:  # a warehouse from before many files could be one delivery: compare all again
        with transaction(con):
            con.execute("alter table event_losers add column source_file varchar")
            con.execute("delete from event_losers")
            con.execute("update source_files set inserted = null where kind in ('gateway', 'gpu') and state = 'landed'")


def land(con: duckdb.DuckDBPyConnection, home: Home, sources: Any, night: date, arrivals: Arrivals, say: Say) -> LandingReport:
    """Land what is new. `sources` is the parsed sources.yaml: lists of entries with `name` and `format` per kind."""
    prepare(con)
    _remove_orphans(con, home)
    not_ours = _temporary(con)
    overlaps.remember_sources(con, getattr(sources, "billing", None) or [])
    report = LandingReport()
    problems: list[dict[str, Any]] = []
    said = monotonic()

    def land_now(found: Found) -> bool:
        arrivals.record([(found.delivery_id, found.kind, found.source, found.files[0].name)])
        say(f"land {found.files[0].name}")
        _land(con, home, found, arrivals, report, problems)
        return _is_landed(con, found)

    scratch = _Scratch(home.scratch / "contents", min(INFLATED, shutil.disk_usage(home.data).free // 2))
    try:
        new = _arrive(con, home, sources, arrivals, problems, scratch, land_now)
    finally:
        scratch.clear()
    for number, found in enumerate(new, 1):
        if monotonic() - said > 1:
            said = monotonic()
            say(f"land {number} of {len(new)}: {found.files[0].name}")
        _land(con, home, found, arrivals, report, problems)
    for kind in ("gateway", "gpu"):
        pending = con.execute(
            "select distinct source from source_files where kind = ? and state = 'landed' and inserted is null order by 1", [kind]
        ).fetchall()
        for (source,) in pending:
            duplicates.compare(con, home, kind, source)
    for table in _temporary(con) - not_ours:  # of readers: a later stage may give a name of theirs to something else
        con.execute(f'drop table temp."{table}"')
    if report.new:
        say(f"landed {report.new:,} deliveries: {report.good:,} rows, {report.rejected:,} in quarantine")
    _remember(con, problems)
    for problem in sorted(problems, key=lambda row: row["path"]):
        if problem["state"] == "refused":
            report.refused.append(Refused(problem["reason"]))
        elif problem["state"] in ("waiting", "held"):
            line = f"{problem['path']}: {problem['reason']}"
            (report.waiting if problem["state"] == "waiting" else report.held).append(line)
            say(f"{problem['state']} {line}")
    return report


# --- what is there -----------------------------------------------------------------------------------------------


def _arrive(
    con: duckdb.DuckDBPyConnection, home: Home, sources: Any, arrivals: Arrivals, problems: list[dict[str, Any]], scratch: _Scratch,
    land_now: Callable[[Found], bool],
) -> list[Found]:  # fmt: skip
    """The deliveries to read now, in order of their paths and known to the books; others only leave their rows.

    A file that scratch holds inflated is landed on the way, before the next one takes its place.
    """
    entries = {(kind, entry.name): entry for kind, key in KINDS.items() for entry in getattr(sources, key, None) or []}
    known = con.execute(
        "select path, bytes, modified_ns, reader, delivery_id, state, file_sha256, kind, source, content_sha256, seq from source_files"
        " where state in ('landed', 'page', 'same_content') order by seq nulls first"
    ).fetchall()
    last = {row[0]: (row[4], row[10]) for row in known if row[5] == "landed"}  # path -> the newest delivery that landed from it
    overtaken = {  # delivery -> its place; of events the order of arrival decides nothing
        row[4]: row[10] for row in known if row[5] == "landed" and row[7] not in ("gateway", "gpu") and last[row[0]][0] != row[4]
    }
    unchanged = {row[:4] for row in known if row[5] == "same_content" or row[4] not in overtaken}
    landed = {row[4]: (row[3], row[0]) for row in known if row[5] == "landed"}  # delivery -> reader, path
    hashes = {(row[0], row[4]): row[6] for row in known}  # path, delivery -> sha256
    batches = _batches(row for row in known if row[5] == "landed")
    batch_of = {(kind, source, sha256): delivery for delivery, (kind, source, members) in batches.items() for sha256 in members}
    told = {row[9]: (row[8], row[0]) for row in known if ("gateway", row[8]) in entries and row[5] == "landed" and row[7] == "gateway"}  # content -> source, path
    again: dict[str, list[Found]] = {}  # files of a landed batch
    new: dict[str, Found] = {}
    seen: list[tuple[Found, str, str]] = []
    returned: set[str] = set()
    for found in _find(home, entries, unchanged, problems, scratch):
        delivery = found.delivery_id
        if changed := _changed_since(found, hashes):
            problems.append(_problem("waiting", f"{changed} changed after its manifest was written; waiting for the next one", found.files[0]))
            continue
        if batch := batch_of.get((found.kind, found.source, found.contents[0].sha256)):
            again.setdefault(batch, []).append(found.as_landed)
        elif _came_back(found, last, overtaken):
            new[delivery] = found.as_landed
            if arrivals.known[delivery][0] < last[found.files[0].name][1]:
                returned.add(delivery)
        elif delivery in new or landed.get(delivery, ("", ""))[0] == found.reader:
            seen.append((found, delivery, new[delivery].files[0].name if delivery in new else landed[delivery][1]))
        elif first := _of_another_gateway(found, told):
            fix = "two sources of one gateway count its calls twice: keep one of them"
            problems.append(_problem("refused", str(Refused(f"the same content as {first}", found.files[0].name, fix)), found.files[0]))
        elif found.contents[0].plain:
            if land_now(found):
                landed[delivery] = (found.reader, found.files[0].name)
        else:
            new[delivery] = found
    new = _together(new, landed)
    for delivery, founds in again.items():
        reader, _ = landed[delivery]
        here = {found.contents[0].sha256: found for found in founds}
        if reader != founds[0].reader and here.keys() == batches[delivery][2].keys():
            paths = batches[delivery][2]
            here |= {found.contents[0].sha256: found for found in founds if paths[found.contents[0].sha256] == found.files[0].name}
            new[delivery] = _merged(list(here.values()))
            founds = [found for found in founds if here[found.contents[0].sha256] is not found]
        # a batch of which a file is gone stays as it was read
        seen += [(found, delivery, batches[delivery][2][found.contents[0].sha256]) for found in founds]
    _seen_again(con, seen)
    arrivals.record(((d, found.kind, found.source, found.files[0].name) for d, found in new.items()), returned)
    return sorted(new.values(), key=lambda found: arrivals.known[found.delivery_id][0])


def _of_another_gateway(found: Found, told: dict[str, tuple[str, str]]) -> str | None:
    """The file of another gateway that told these calls first; files that may say nothing (Parquet, a bare header, no record) are alike."""
    content, file = found.contents[0], found.files[0]
    if found.kind != "gateway" or content.size < 100 or content.lines - content.blank <= file.name.endswith((".csv", ".csv.gz")):
        return None
    source, first = told.setdefault(content.sha256, (found.source, file.name))
    return None if source == found.source else first


def _came_back(found: Found, last: dict[str, tuple[str, int]], overtaken: dict[str, int]) -> bool:
    """Whether a file says again what it said before another delivery took its place: then that is the newest again.

    A copy under another name says nothing new.
    """
    delivery, name = found.delivery_id, found.files[0].name
    return delivery in overtaken and name in last and last[name][1] > overtaken[delivery]


def _batches(landed: Iterable[tuple[Any, ...]]) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Of deliveries of many small files: kind, source, and the path of each content."""
    found: dict[str, tuple[str, str, dict[str, str]]] = {}
    for path, _, _, _, delivery, _, _, kind, source, sha256, _ in landed:
        found.setdefault(delivery, (kind, source, {}))[2][sha256] = path
    return {delivery: batch for delivery, batch in found.items() if len(batch[2]) > 1}


def _together(new: dict[str, Found], landed: dict[str, tuple[str, str]]) -> dict[str, Found]:
    """The deliveries, with many small files of a source as one. What landed alone before is read alone again."""
    small: dict[tuple[str, str], list[str]] = {}
    for delivery, found in new.items():
        fits = found.format.small_files and len(found.files) == 1 and small_files.are_small(found.files[0], found.contents[0])
        if fits and delivery not in landed and (_holds(found.format.line_records, found) or _holds(found.format.in_lines, found)):
            small.setdefault((found.kind, found.source), []).append(delivery)
    for deliveries in small.values():
        if len(deliveries) >= small_files.MANY:
            founds = [new.pop(delivery) for delivery in deliveries]
            for part in small_files.chunks([found.contents[0] for found in founds]):
                merged = _merged(founds[part])
                new[merged.delivery_id] = merged
    return new


def _merged(founds: list[Found]) -> Found:
    files = tuple(file for found in founds for file in found.files)
    contents = tuple(content for found in founds for content in found.contents)
    return replace(founds[0], files=files, contents=contents, many=len(files) > 1)


def _find(
    home: Home, entries: dict[tuple[str, str], Any], unchanged: set[tuple[Any, ...]], problems: list[dict[str, Any]], scratch: _Scratch
) -> Iterator[Found]:
    """New or changed deliveries, with their bytes read; what cannot be one is added to `problems`."""
    groups: dict[tuple[str, str], list[File]] = {}
    for file in _walk(home, problems):
        groups.setdefault((file.kind, file.source), []).append(file)
    for (kind, source), files in groups.items():
        entry = entries.get((kind, source))
        if entry is None:
            place = File(kind, source, home.landing / kind / source, f"{kind}/{source}", 0, 0)
            fix = f"add it to sources.yaml under {KINDS[kind]}: (- name: {source}), or remove the folder"
            problems.append(_problem("refused", str(Refused("no such source", f"{kind}/{source}", fix)), place))
            continue
        try:
            format_ = registry.find(entry.format)
        except Refused as refused:
            problems.append(_problem("refused", str(refused), files[0]))
            continue
        reader = _reader(format_, entry)
        for set_ in _sets(files, format_, unchanged, problems):
            batch = set_.all
            if all((file.name, file.bytes, file.modified_ns, reader) in unchanged for file in batch):
                continue
            contents: list[tuple[File, Content]] = []
            for file in batch:
                try:
                    contents.append((file, _inspect(file, format_, scratch if len(batch) == 1 else None)))
                except Refused as refused:
                    problems.append(_problem("refused", str(refused), file, format_=format_.name))
            if not contents or (len(contents) < len(batch) and not format_.pages):
                continue
            for pages in _page_sets(contents, problems) if format_.pages else [contents]:
                yield Found(tuple(f for f, _ in pages), tuple(c for _, c in pages), entry, format_, reader, set_.parts, beside=set_.beside)


def _sets(
    files: list[File], format_: Format, unchanged: set[tuple[Any, ...]], problems: list[dict[str, Any]]
) -> list[sets.Set]:
    """What may arrive together, before any of it is read; in order of arrival."""
    if format_.pages:
        return [sets.Set(tuple(batch)) for batch in _folders(files)]
    told: list[sets.Said] = []
    if format_.commit_marks:
        files = sets.committed(files, told)
        problems += [_problem(state, reason, file, format_=format_.name) for state, reason, file in told]
    if not format_.manifests and not format_.pair:
        return [sets.Set((file,)) for file in files]
    seen = {row[0] for row in unchanged}
    metadata: list[File] = []
    if format_.beside:
        files, metadata = sets.describing(files, format_.beside, format_.manifests.names if format_.manifests else (), told)
    whole, said = sets.assemble(files, format_.manifests, format_.pair)
    said += told
    for state, reason, file in said:
        if state != "superseded" or file.name not in seen:
            problems.append(_problem(state, reason, file, format_=format_.name))
    return [
        replace(set_, beside=sets.beside(set_, metadata)) for set_ in whole if set_.newest or any(file.name in seen for file in set_.all)
    ]


def _changed_since(found: Found, hashes: dict[tuple[str, str], str]) -> str | None:
    """A file that changed while the manifest that lists it is still the one that landed."""
    here = {file.name: content.file_sha256 for file, content in zip(found.files, found.contents, strict=True)}
    for part in found.parts:
        for manifest in part.manifests:
            for path, delivery in hashes:
                if path == manifest.name and hashes[path, delivery] == here[path]:
                    for file in part.files:
                        if hashes.get((file.name, delivery), here[file.name]) != here[file.name]:
                            return file.name
    return None


def _walk(home: Home, problems: list[dict[str, Any]]) -> Iterator[File]:
    """Files of landing in order of their paths. Hidden and temporary ones are left alone; links are refused."""
    for folder, folders, names in os.walk(home.landing):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*names, *(f for f in folders if os.path.islink(os.path.join(folder, f)))]):
            path = Path(folder, name)
            if name.startswith(".") or name.endswith(TEMPORARY):
                continue
            relative = path.relative_to(home.landing)
            shown = str(relative).encode("utf-8", "backslashreplace").decode()
            if shown != str(relative):
                file = File(shown.split("/")[0], "", path, shown, 0, 0)
                problems.append(_problem("refused", str(Refused("the name is not UTF-8", shown, "rename it")), file))
                continue
            if path.is_symlink():
                file = File(relative.parts[0], "", path, str(relative), 0, 0)
                problems.append(_problem("refused", str(Refused("a link", str(relative), "put the file itself here")), file))
                continue
            stat = path.stat()
            parts = relative.parts
            file = File(parts[0], parts[1] if len(parts) > 2 else "", path, str(relative), stat.st_size, stat.st_mtime_ns)
            if file.kind not in KINDS or not file.source:
                fix = f"move it to data/landing/<kind>/<source>/ (kinds: {', '.join(KINDS)}; sources: as in sources.yaml)"
                problems.append(_problem("refused", str(Refused("does not belong here", str(relative), fix)), file))
                continue
            yield file


def _folders(files: list[File]) -> list[list[File]]:
    folders: dict[Path, list[File]] = {}
    for file in files:
        folders.setdefault(file.path.parent, []).append(file)
    return [sorted(batch, key=lambda file: _natural(file.name)) for batch in folders.values()]


def _natural(name: str) -> list[tuple[int, str]]:
    """page-2 before page-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _page_sets(contents: list[tuple[File, Content]], problems: list[dict[str, Any]]) -> Iterator[list[tuple[File, Content]]]:
    """Pages of one folder in order of their names; a set ends with the page that says that nothing follows."""
    pages: list[tuple[File, Content]] = []
    for file, content in contents:
        pages.append((file, content))
        if not _has_more(file.path):
            yield pages
            pages = []
    if pages:
        problems.append(_problem("waiting", f"{pages[-1][0].name} says that more pages follow, and they are not here yet", pages[0][0]))


def _has_more(path: Path) -> bool:
    """Whether a page says that another follows; what is no page is left to its reader."""
    try:
        with open_content(path) as handle:
            page = json.loads(handle.read().decode("utf-8-sig"))
        return bool(isinstance(page, dict) and page.get("has_more"))
    except (ValueError, RecursionError):
        return False


class _Scratch:
    """One large gateway file at a time, inflated by the byte pass for the readers: each is inflated once.

    The next one is written over the last, because new pages of a file cost more than reading it.
    """

    def __init__(self, folder: Path, room: int) -> None:
        self.folder, self.room = folder, room
        self.last: Path | None = None

    def place(self, file: File) -> Path | None:
        """Where the content of a file goes; its name and that of its folder stay, for readers that look at them."""
        if file.kind != "gateway" or file.bytes <= small_files.SMALL or not file.name.endswith(".gz"):
            return None
        here = self.folder / file.path.parent.name / file.path.name.removesuffix(".gz")
        here.parent.mkdir(parents=True, exist_ok=True)
        if self.last and self.last.exists():
            os.replace(self.last, here)
        self.last = here
        return here

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _inspect(file: File, format_: Format, scratch: _Scratch | None) -> Content:
    manifests = format_.manifests.names if format_.manifests else ()
    if not file.name.endswith((*format_.suffixes, *manifests)):
        raise Refused(f"not a file of format {format_.name}", file.name, f"deliver {' or '.join(format_.suffixes)}")
    longest = MAX_DOCUMENT if format_.document else MAX_LINE
    plain, room = (scratch.place(file), scratch.room) if scratch else (None, 0)
    content = inspect(file.path, file.name, longest, plain, room, may_be_empty=format_.commit_marks)
    stat = file.path.stat()
    if (stat.st_size, stat.st_mtime_ns) != (file.bytes, file.modified_ns):
        raise Refused("the file is still being written", file.name, "write under a hidden name, then rename it")
    if content.size > MAX_DOCUMENT and (format_.document or format_.pages) and file.name.endswith((".json", ".json.gz")):
        raise Refused(f"a document of more than {MAX_DOCUMENT >> 20} MB", file.name, "deliver it in smaller files")
    return content


def _reader(format_: Format, entry: Any) -> str:
    """A digest of what decides how a file is read: the reader's code, and what sources.yaml says about reading."""
    fields = entry.model_dump(mode="json") if hasattr(entry, "model_dump") else dict(vars(entry))
    said = {key: value for key, value in fields.items() if key not in NOT_READ}
    return hashlib.sha256((_code(format_) + json.dumps(said, sort_keys=True, default=str)).encode()).hexdigest()[:8]


@cache
def _code(format_: Format) -> str:
    module = Path(format_.read.__code__.co_filename)
    shared = Path(registry.__file__).parent
    common = (shared / name for name in ("__init__.py", "reading.py", "texts.py", "fields.py", "gateway/lines.py"))
    files = {module, *module.parent.glob("*.py"), *common}
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


# --- one delivery ------------------------------------------------------------------------------------------------


def _land(
    con: duckdb.DuckDBPyConnection, home: Home, found: Found, arrivals: Arrivals, report: LandingReport, problems: list[dict[str, Any]]
) -> None:
    """Land a delivery, or say why not. Of many small files the half that can be read lands, and so on to the file at fault."""
    try:
        _land_one(con, home, found, arrivals.known[found.delivery_id], report)
    except shrinking.Held as held:
        sha256 = found.contents[0].file_sha256
        problems.append(_problem("held", str(held), found.files[0], found.delivery_id, found.format.name, sha256))
        if isinstance(held, overlaps.Claimed):
            report.refused.append(Refused(f"{found.files[0].name}: {held}"))
    except Refused as refused:
        if not found.many or _is_landed(con, found):  # what was read before stays as it was
            problems.append(_problem("refused", str(refused), found.files[0], found.delivery_id, found.format.name))
            return
        middle = len(found.files) // 2
        for part in (slice(middle), slice(middle, None)):
            files, contents = found.files[part], found.contents[part]
            half = replace(found, files=files, contents=contents, many=len(files) > 1)
            arrivals.record([(half.delivery_id, half.kind, half.source, files[0].name)])
            _land(con, home, half, arrivals, report, problems)


def _is_landed(con: duckdb.DuckDBPyConnection, found: Found, seq: int | None = None) -> bool:
    """Whether the delivery counts already, at this place in the order of arrival if one is given."""
    sql = "select count(*) > 0 from source_files where delivery_id = $id and state = 'landed' and seq = coalesce($seq, seq)"
    return bool(con.execute(sql, {"id": found.delivery_id, "seq": seq}).fetchall()[0][0])


def _land_one(con: duckdb.DuckDBPyConnection, home: Home, found: Found, arrived: tuple[int, date], report: LandingReport) -> None:
    """Read one delivery; its Parquet file is on disk before its rows say that it counts."""
    kind, source, delivery_id = found.kind, found.source, found.delivery_id
    first = found.files[0]
    _read(con, home, found)
    if kind == "billing" and not _is_landed(con, found, arrived[0]):
        names = {file.name for file in found.files} | {content.file_sha256 for content in found.contents}
        overlaps.hold_back(con, home, source)
        shrinking.hold_back(con, home, found.entry, *arrived, names)
    line_records = _holds(found.format.line_records, found)
    counts = _counts(con, found, line_records)
    lake_file = f"landed/{kind}/{delivery_id[:16]}-{found.reader}.parquet"
    params = {"source": source, "delivery_id": delivery_id, **({} if found.many else {"source_file": first.name})}
    write_parquet(con, _lake_select(kind, found.many), home.lake / lake_file, params)
    with transaction(con):
        _forget(con, kind, source, delivery_id)
        days = _days(con, kind, source, delivery_id, arrived[1])
        open_spans = traces.keep(con, source, delivery_id)
        rows = [
            {
                **_file_row(file, found, content, "landed"),
                "first_day": days[0],
                "last_day": days[1],
                "seq": arrived[0],
                "night": arrived[1],
                "lake_file": lake_file,
                "inserted": None if kind in ("gateway", "gpu") and (count["good"] or open_spans) else count["good"],
                "duplicate": 0,
                "superseded": 0,
                "conflict": 0,
                "discarded_cost": _discarded(con) if kind == "billing" else None,
                **count,
            }
            for file, content, count in zip(found.files, found.contents, counts, strict=False)
        ]
        pages = [
            {**_file_row(file, found, content, "page"), "reason": f"continues {first.name}"}
            for file, content in zip(found.files[len(rows) :], found.contents[len(rows) :], strict=True)
        ]
        _insert(con, "source_files", rows)
        _insert(con, "source_files", pages)
        _quarantine(con, found, line_records or _holds(found.format.in_lines, found))
    _drop_left(con)
    report.new += 1
    report.lines += sum(count["lines"] for count in counts)
    report.good += sum(count["good"] for count in counts)
    report.rejected += sum(count["rejected"] for count in counts)


def _temporary(con: duckdb.DuckDBPyConnection) -> set[str]:
    return {name for (name,) in con.execute("select table_name from duckdb_tables() where temporary").fetchall()}


def _drop_left(con: duckdb.DuckDBPyConnection) -> None:
    """What a reader leaves."""
    for table in ("parsed", "coverage", "ignored", "kept_spans"):
        con.execute(f"drop table if exists temp.{table}")


def _read(con: duckdb.DuckDBPyConnection, home: Home, found: Found) -> None:
    """Temp table `parsed` (and `coverage`); whatever the engine says becomes one line without any of the content."""
    paths = found.plain[: found.data]
    manifests = tuple(file.path for file in found.files[found.data :])
    copies = home.scratch / "copies"
    lines, blank = found.lines, found.blank
    runs = None
    _drop_left(con)
    try:
        if found.many:
            paths = (copies / "lines.jsonl",)
            runs = small_files.join(found.files, found.contents, paths[0])
            lines, blank = runs.rows, 0
        elif found.kind == "gateway" and found.contents[0].bom:
            paths = (without_bom(paths[0], copies),)
        delivery = Delivery(found.delivery_id, found.kind, found.source, paths, lines, blank, manifests, found.beside)
        found.format.read(con, delivery, found.entry)
        if runs:
            small_files.say_where(con, runs)
        if found.kind == "billing":
            _refuse_beyond_counting(con, found)
    except (duckdb.OutOfMemoryException, duckdb.FatalException, duckdb.InterruptException):
        raise
    except (duckdb.Error, UnicodeDecodeError, RecursionError) as error:
        what = f"cannot be read as {found.format.name} ({type(error).__name__})"
        raise Refused(what, found.files[0].name, "deliver the file again, whole") from None
    finally:
        if copies.exists():
            for path in copies.iterdir():
                path.unlink()


def _refuse_beyond_counting(con: duckdb.DuckDBPyConnection, found: Found) -> None:
    """A bill with an amount that no bill has: everything after it is exact up to here."""
    amounts = ", ".join(f"abs({name})" for name in ("list_cost", "contracted_cost", "effective_cost", "billed_cost"))
    first = con.execute(
        f"select min(source_row) from parsed where greatest({amounts}) >= 10000000000000 or abs(consumed_quantity) >= 10000000000000000000"
    ).fetchall()[0][0]
    if first is not None:
        fix = "correct the line, or the field map, and deliver it again"
        raise Refused("a cost of ten trillion or a quantity of ten quintillion, or more", f"{found.files[0].name} record {first}", fix)


def _lines_of(con: duckdb.DuckDBPyConnection, path: str | None) -> int:
    """How many lines the rows are from: of a delivery, or of one of its many small files."""
    where = "" if path is None else " where source_file = $path"
    return int(con.execute(f"select count(distinct source_row) from parsed{where}", {} if path is None else {"path": path}).fetchall()[0][0])


def _counts(con: duckdb.DuckDBPyConnection, found: Found, line_records: bool) -> list[dict[str, Any]]:
    """lines = blank + good + rejected: proven against the bytes where a record is a line, else lines are records.

    Of many small files each has its own counts and days; else the first file has those of the delivery.
    """
    kinds = "count(*) filter (reject is null), count(*) filter (reject is not null)"
    if found.many:
        days = "min(occurred_at) filter (reject is null)::date, max(occurred_at) filter (reject is null)::date"
        rows = con.execute(f"select source_file, {kinds}, {days} from parsed group by all").fetchall()
        counted = {path: (good, rejected, {"first_day": first, "last_day": last}) for path, good, rejected, first, last in rows}
        bytes_of = [(file.name, content.lines, content.blank) for file, content in zip(found.files, found.contents, strict=True)]
    else:
        counted = {found.files[0].name: (*con.execute(f"select {kinds} from parsed").fetchall()[0], {})}
        bytes_of = [(found.files[0].name, found.lines, found.blank)]
    counts: list[dict[str, Any]] = []
    ignored = _ignored(con, found)
    for path, lines, blank in bytes_of:
        good, rejected, days = counted.get(path, (0, 0, {"first_day": None, "last_day": None}))
        if not line_records:
            lines, blank = good + rejected, 0
        if lines != blank + good + rejected and found.format.several and _lines_of(con, path if found.many else None) == lines - blank:
            lines, blank = good + rejected, 0
        if lines != blank + good + rejected:
            what = f"{lines} lines, {blank} of them blank, but {good + rejected} records"
            raise Refused(what, path, "deliver one record per line")
        names, with_names = ignored.get(path, (None, None))
        if names and with_names is None:  # a header says it of every record
            with_names = good + rejected
        ignoring = {"ignored_fields": names, "ignored_lines": with_names}
        counts.append({"lines": lines, "blank": blank, "good": good, "rejected": rejected, **ignoring, **days})
    return counts


def _ignored(con: duckdb.DuckDBPyConnection, found: Found) -> dict[str, tuple[int, int | None]]:
    """Per file how many different names are not read, and of how many records (None: of all, says its header); without those nobody looked at."""
    if not con.execute("select count(*) from duckdb_tables() where table_name = 'ignored' and temporary").fetchall()[0][0]:
        return {}
    rows = con.execute(
        f"""
        with same as (
            select {"source_file" if found.many else "$first"} as path, names, sum(records) as records
            from ignored
            group by all
        )
        select
            path, len(list_distinct(flatten(list(names)))),
            if(count(records) > 0, coalesce(sum(records) filter (len(names) > 0), 0), if(len(flatten(list(names))) > 0, null, 0))::bigint
        from same
        group by all
        """,
        {} if found.many else {"first": found.files[0].name},
    ).fetchall()
    return {path: (names, records) for path, names, records in rows}


def _holds(rule: bool | FileRule, found: Found) -> bool:
    return rule(found.entry, found.files[0].path) if callable(rule) else rule


def _quarantine(con: duckdb.DuckDBPyConnection, found: Found, by_line: bool) -> None:
    """Coordinates and reason of every rejected row, never its text; so many at once, since all lines of a file may be bad."""
    rows = _quarantined(con, found, by_line)
    while some := list(islice(rows, AT_ONCE)):
        _insert(con, "quarantine", some)


def _quarantined(con: duckdb.DuckDBPyConnection, found: Found, by_line: bool) -> Iterator[dict[str, Any]]:
    header = 0 if by_line else 1
    (records,) = con.execute("select count(*) from parsed").fetchall()[0]
    csv_lines = found.files[0].name.endswith((".csv", ".csv.gz")) and found.contents[0].lines == records + header
    on_lines = (len(found.files) == 1 or found.many) and (by_line or csv_lines)
    paths = dict(zip((file.name for file in found.files), found.plain, strict=True))
    for name, rejected in groupby(_rejected(con, found), key=itemgetter(0)):
        lines: Iterator[Line | None] = repeat(None)
        if on_lines:
            rejected, again = tee(rejected)
            lines = locate(paths[name], (row + header for _, row, _ in again))
        for (_, row, reason), line in zip(rejected, lines, strict=False):
            yield {
                "kind": found.kind,
                "source": found.source,
                "path": name,
                "delivery_id": found.delivery_id,
                "source_row": row,
                "byte_offset": line and line.offset,
                "byte_length": line and line.length,
                "line_sha256": line and line.sha256,
                "reason": reason,
            }


def _rejected(con: duckdb.DuckDBPyConnection, found: Found) -> Iterator[tuple[str, int, str]]:
    """File, row and reason, in this order."""
    con.execute(
        f"create or replace temp table rejected as select row_number() over (order by path, source_row, reject) as n, *"
        f" from (select {'source_file' if found.many else '$first'} as path, source_row, reject from parsed where reject is not null)",
        {} if found.many else {"first": found.files[0].name},
    )
    last = 0
    some = "select path, source_row, reject from rejected where n > $last and n <= $last + $at_once order by n"
    while rows := con.execute(some, {"last": last, "at_once": AT_ONCE}).fetchall():
        yield from rows
        last += AT_ONCE
    con.execute("drop table rejected")


def _lake_select(kind: str, many: bool) -> str:
    columns = list(SHAPES[kind])
    extra = ""
    if kind == "gateway":
        extra = ", occurred_at::date as usage_date"
    names = ", ".join(columns)
    return (
        f"select {names}, $source::varchar as source, $delivery_id::varchar as delivery_id, source_row,"
        f" {'source_file' if many else '$source_file::varchar as source_file'}{extra} from parsed where reject is null"
    )


def _days(con: duckdb.DuckDBPyConnection, kind: str, source: str, delivery_id: str, night: date) -> tuple[date | None, date | None]:
    """Fill delivery_days and what a bill or a usage report covers; returns the first and last day with rows."""
    day = {
        "gateway": "select occurred_at::date as usage_date from parsed where reject is null",
        "billing": "select usage_date from parsed where reject is null and usage_date is not null",
        "usage": "select usage_date from coverage",
        "gpu": "select unnest(generate_series(interval_start::date::timestamp, greatest(interval_start,"
        " coalesce(interval_end - interval 1 microsecond, $night::timestamp))::date::timestamp, interval 1 day))::date as usage_date"
        " from parsed where reject is null",
        "drivers": "select usage_date from parsed where reject is null and usage_date is not null",
    }.get(kind)
    if day is None:
        return None, None
    params = {"night": night} if kind == "gpu" else {}
    con.execute(f"create or replace temp table days as select usage_date, count(*) as rows from ({day}) group by all", params)
    if kind != "drivers":
        con.execute("insert into delivery_days select ?, ?, ?, usage_date, rows from days", [delivery_id, kind, source])
    if kind == "billing":
        con.execute(
            "insert into bill_coverage select distinct ?, ?, billing_account_id, billing_period, usage_date from coverage",
            [delivery_id, source],
        )
    if kind == "usage":
        con.execute("insert into usage_coverage select ?, ?, report, billing_account_id, usage_date from coverage", [delivery_id, source])
    first, last = con.execute("select min(usage_date), max(usage_date) from days").fetchall()[0]
    con.execute("drop table temp.days")
    return first, last


def _discarded(con: duckdb.DuckDBPyConnection) -> Any:
    return con.execute("select coalesce(sum(discarded_cost), 0)::decimal(38, 30) from parsed where reject is null").fetchall()[0][0]


# --- bookkeeping -------------------------------------------------------------------------------------------------


def _file_row(file: File, found: Found, content: Content, state: str) -> dict[str, Any]:
    return {
        "kind": file.kind,
        "source": file.source,
        "path": file.name,
        "delivery_id": found.delivery_id,
        "format": found.format.name,
        "state": state,
        "file_sha256": content.file_sha256,
        "content_sha256": content.sha256,
        "bytes": file.bytes,
        "modified_ns": file.modified_ns,
        "reader": found.reader,
    }


def _seen_again(con: duckdb.DuckDBPyConnection, seen: list[tuple[Found, str, str]]) -> None:
    """Content that is landed already (delivery, path): the same file with a new time, or a copy of it."""
    rows = [
        {**_file_row(file, found, content, "same_content"), "delivery_id": delivery, "reason": f"the same content as {first}"}
        for found, delivery, first in seen
        for file, content in zip(found.files, found.contents, strict=True)
    ]
    if not rows:
        return
    here = "s.path = n.path and s.delivery_id = n.delivery_id and s.state in ('landed', 'page', 'same_content')"
    with transaction(con):
        con.execute("create or replace temp table seen_now as from source_files limit 0")
        _insert(con, "seen_now", rows)
        con.execute(
            "update source_files s set bytes = n.bytes, modified_ns = n.modified_ns, file_sha256 = n.file_sha256, reader = n.reader"
            f" from seen_now n where {here}"
        )
        con.execute(f"insert into source_files from seen_now n where not exists (select 1 from source_files s where {here})")
        con.execute("drop table seen_now")


def _forget(con: duckdb.DuckDBPyConnection, kind: str, source: str, delivery_id: str) -> None:
    """Before a delivery is read again by another reader: nothing of the first reading stays."""
    was = con.execute("delete from source_files where delivery_id = ? and state in ('landed', 'page')", [delivery_id]).fetchall()[0][0]
    if not was:
        return
    for table in ("quarantine", "delivery_days", "bill_coverage", "usage_coverage", "trace_spans"):
        con.execute(f"delete from {table} where delivery_id = ?", [delivery_id])
    if con.execute("select count(*) from duckdb_tables() where table_name = 'logged_models'").fetchall()[0][0]:
        con.execute("delete from logged_models where delivery_id = ?", [delivery_id])
    con.execute("delete from event_losers where source = ? and ? in ('gateway', 'gpu')", [source, kind])
    con.execute("update source_files set inserted = null where kind = ? and source = ? and state = 'landed'", [kind, source])


def _problem(
    state: str, reason: str, file: File, delivery_id: str | None = None, format_: str | None = None, sha256: str | None = None
) -> dict[str, Any]:
    return {
        "kind": file.kind,
        "source": file.source,
        "path": file.name,
        "delivery_id": delivery_id,
        "format": format_,
        "state": state,
        "reason": " ".join(reason.split()),
        "file_sha256": sha256,
        "bytes": file.bytes,
        "modified_ns": file.modified_ns,
    }


def _remember(con: duckdb.DuckDBPyConnection, problems: list[dict[str, Any]]) -> None:
    """The rows of what is refused, waiting, held, superseded or metadata now, in place of last night's."""
    old = con.execute("select count(*) from source_files where state in ('refused', 'waiting', 'held', 'superseded', 'metadata')").fetchall()[0][0]
    if old or problems:
        with transaction(con):
            con.execute("delete from source_files where state in ('refused', 'waiting', 'held', 'superseded', 'metadata')")
            _insert(con, "source_files", problems)


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Rows of the same columns, at once: a statement per row would take minutes for a night of small files."""
    if rows:
        lists = {f"c{n}": [row[column] for row in rows] for n, column in enumerate(rows[0])}
        con.execute(f"insert into {table}({', '.join(rows[0])}) select {', '.join(f'unnest(${name})' for name in lists)}", lists)


def _remove_orphans(con: duckdb.DuckDBPyConnection, home: Home) -> None:
    """Lake files that a killed run left without a row."""
    known = {row[0] for row in con.execute("select lake_file from source_files where lake_file is not null").fetchall()}
    for path in (home.lake / "landed").glob("*/*"):
        if path.is_file() and str(path.relative_to(home.lake)) not in known:
            path.unlink()
            sync(path.parent)
