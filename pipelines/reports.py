"""The statements that leave the house: drafts of open periods, issued versions of closed ones, digests of weeks, and the door page.

An issued version is written once, as a whole folder. A draft is rewritten when its figures change. The manifest of a version says
what is in it and what it was made of; those of issued versions form a chain, each with the hash of the one issued before it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb

from pipelines.books import Entry, file_sha256
from pipelines.errors import Refused
from pipelines.run import Run, digest
from pipelines.warehouse import replace_durably, sync, write_text

PAGES = ("index.html", "rate-card.html", "overview.html", "engineering.html")
MANIFEST = "manifest.json"
_KINDS = {".xlsx": "workbook", ".html": "page"}


@dataclass(frozen=True)
class Made:
    """A file of a version before it has its place. `kind`: workbook, page, rows (that did not fit the workbook), journal."""

    name: str
    kind: str
    state: str
    team_id: str | None  # None: of the whole company
    content: bytes


@dataclass(frozen=True)
class Issued:
    """One file of one period and version; `href` is relative to reports/."""

    period: str
    version: int
    state: str
    team_id: str | None  # None: of the whole company
    name: str
    href: str
    bytes: int
    sha256: str
    kind: str = "workbook"  # page, rows, journal, manifest


@dataclass(frozen=True)
class Pages:
    """The pages and feeds that may change every night, by their place under reports/; written once a manifest names their checksums."""

    texts: dict[str, str]
    week: str  # the folder of the digests among them

    @property
    def checksums(self) -> list[dict[str, Any]]:
        encoded = {path: text.encode("utf-8") for path, text in self.texts.items()}
        return [{"path": path, "bytes": len(content), "sha256": sha256(content).hexdigest()} for path, content in encoded.items()]

    def write(self, reports: Path) -> None:
        for path, text in self.texts.items():
            _renew(reports / path, text)

    def clear(self, reports: Path) -> None:
        """Take away this week's digests of teams that have none any more, once no published manifest names them."""
        for gone in (reports / self.week).glob("*.html"):
            if str(gone.relative_to(reports)) not in self.texts:
                gone.unlink()


def write(run: Run, database: Path, before: dict[str, str]) -> tuple[list[Issued], Pages]:
    """Bring reports/ in step with the published tables in `database`: every file of every version that belongs there, and the
    pages, which are not written yet. `before`: the checksums that were published last, by path.
    """
    from pipelines.render import digest as weekly
    from pipelines.render import engineering, index, overview

    run.home.reports.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(str(database), read_only=True)
    try:
        versions = con.execute(
            "select distinct s.period, s.version, p.state from statements s join periods p using (period) order by 1 desc, 2 desc"
        ).fetchall()
        issued: list[Issued] = []
        known = {(period, version) for period, version, _ in versions}
        previous: Path | None = None
        for entry in in_order(run.books.of("closed")):
            one = entry.facts["period"], entry.facts["version"]
            if one in known:
                issued += _version(run, con, *one, previous, entry, before)
                previous = folder_of(run, *one) / MANIFEST
        for period, version, _ in versions:
            if not version:
                issued += _version(run, con, period, version, None, None, {})
        for folder in run.home.reports.glob("*/draft"):
            if (folder.parent.name, 0) not in known:
                shutil.rmtree(folder)
        week = run.home.reports / "weekly" / weekly.label(weekly.last_week(run.through))
        digests = weekly.pages(con, run.through)
        linked = [(one.name, f"weekly/{week.name}/{file}") for file, one in digests.items()]
        door = index.page(con, [asdict(one) for one in issued], week.name, linked)
        texts = dict(zip(PAGES, (door, index.rate_card(con), overview.page(con), engineering.page(con)), strict=True))
    finally:
        con.close()
    place = str(week.relative_to(run.home.reports))
    return issued, Pages({**texts, **{f"{place}/{name}": one.html for name, one in digests.items()}}, place)


def _renew(target: Path, page: str) -> None:
    """A page that may change every night; one that says the same stays the file it is."""
    if not target.is_file() or target.read_text(encoding="utf-8") != page:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, page)


def folder_of(run: Run, period: str, version: int) -> Path:
    return run.home.reports / period / (f"v{version}" if version else "draft")


def in_order(closed: list[Entry]) -> list[Entry]:
    """Closed versions in the order in which they were issued."""
    return sorted(closed, key=lambda entry: entry.number)


def read_manifest(path: Path, *keys: str) -> dict[str, Any]:
    """A manifest that has these keys; `Refused` where it cannot be read any more."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise Refused("is not a readable manifest: it has been altered", str(path), "restore it from a backup")
    return found


def _version(
    run: Run, con: duckdb.DuckDBPyConnection, period: str, version: int, previous: Path | None, entry: Entry | None, before: dict[str, str]
) -> list[Issued]:
    """The files of one version, made where they are not there yet; of an issued one, `previous` is the manifest before it in the chain.

    A version that is in `before` was issued and is lost: it comes back as it was, or not at all.
    """
    folder = folder_of(run, period, version)
    wanted = digest(
        [
            run.code,
            con.execute("select fiscal_period, starts_on, ends_on from periods where period = ?", [period]).fetchall(),
            con.execute("from statements where period = ? order by all", [period]).fetchall(),
            con.execute("select sha256(string_agg(l::varchar, '' order by line_no, team_id)) from statement_lines l where period = ?", [period]).fetchall(),
            con.execute("select sha256(string_agg(ledger_id || effective_cost, '' order by ledger_id)) from ledger where period = ?", [period]).fetchall(),
            con.execute("from reconciliation where period = ? order by all", [period]).fetchall(),
            con.execute("from billing_coverage where period = ? order by all", [period]).fetchall(),
            con.execute("from invoice_reconciliation where period <= ? order by all", [period]).fetchall(),
            con.execute("select * exclude (events) from exceptions order by all").fetchall(),
            con.execute("from cost_changes where period = ? order by all", [period]).fetchall(),
            [con.execute(f"from {name} where period = ? order by all", [period]).fetchall() for name in _present(con, "budget_draws", "budget_status", "efficiency", "forecast")],
            con.execute("from rate_card order by all").fetchall(),
            con.execute("from gpu_equivalents order by all").fetchall(),
            con.execute("select sha256(string_agg(j::varchar, '' order by je_id, line_no)) from journal_lines j where period = ?", [period]).fetchall(),
            run.policy.accounts.model_dump_json(),
            [con.execute(f"from {name} where period = ? order by all", [period]).fetchall() for name in _present(con, "approvals")],
            [con.execute(f"from {name} order by all").fetchall() for name in _present(con, "disputes")],  # also those of earlier months
        ]
    )
    manifest = folder / MANIFEST
    if manifest.is_file():
        known = read_manifest(manifest, "figures", "files")
        if version or known["figures"] == wanted:
            return [*(Issued(**one) for one in known["files"]), _own(period, version, folder)]
    run.say(f"write {folder.relative_to(run.home.root)}")
    return _place(run, folder, version, _render(run, con, period, version), _facts(run, con, period, version, wanted, previous, entry), before)


def _present(con: duckdb.DuckDBPyConnection, *names: str) -> list[str]:
    """Those of the tables that this database has."""
    found = con.execute("select table_name from duckdb_tables() where table_name in (select unnest(?)) order by 1", [list(names)]).fetchall()
    return [name for (name,) in found]


def _render(run: Run, con: duckdb.DuckDBPyConnection, period: str, version: int) -> list[Made]:
    """Every file of one version."""
    from pipelines.render import journal, names, workbook

    rows = con.execute(
        "select team_id, any_value(state) from statements where period = ? and version = ? group by all order by 1", [period, version]
    ).fetchall()
    made = [
        Made(name, _KINDS.get(Path(name).suffix, "rows"), state, team, content)
        for team, state in rows
        for name, content in workbook.files(con, period=period, version=version, team_id=team).items()
    ]
    state = rows[0][1] if rows else "DRAFT"
    made.append(Made(names.workbook_name(period, version, None), "workbook", state, None, workbook.company(con, period=period, version=version)))
    posted = journal.files(con, run.policy.accounts, period, version)
    made += [Made(name, "journal", state, None, content) for name, content in posted.items()]
    return made


def _facts(
    run: Run, con: duckdb.DuckDBPyConnection, period: str, version: int, figures: str, previous: Path | None, entry: Entry | None
) -> dict[str, Any]:
    """What the manifest says beside its files: control totals, what the version was made of, who approved it, the chain."""

    def rows(sql: str, *values: Any) -> list[dict[str, Any]]:
        cursor = con.execute(sql, values)
        titles = [column[0] for column in cursor.description]
        return [dict(zip(titles, row, strict=True)) for row in cursor.fetchall()]

    through = entry.facts["through"] if entry else run.through
    approvals = (
        "select a.step, a.actor, a.through::varchar as through from approvals a join periods p on p.period = a.period"
        " where a.period = ? and a.counts and a.version = case when ? > 0 then ? else p.version + 1 end order by a.through, a.step, a.actor"
    )
    return {
        "period": period,
        "version": version,
        "through": str(through),
        "figures": figures,
        "statements": rows(
            "select legal_entity, mode, currency, count(*) as lines, sum(amount)::varchar as amount from statement_lines"
            " where period = ? and version = ? group by all order by all", period, version
        ),
        "journal": rows(
            "select legal_entity, kind, currency, count(distinct je_id) as entries, count(*) as lines, sum(debit)::varchar as debit,"
            " sum(credit)::varchar as credit from journal_lines where period = ? and version = ? group by all order by all", period, version
        ),
        "ledger": rows(
            "select billing_currency as currency, count(*) as rows, sum(effective_cost)::varchar as effective_cost,"
            " sum(chargeback_cost)::varchar as chargeback_cost from ledger where period = ? group by all order by all", period
        ),
        "inputs": rows(
            "select distinct f.kind, f.source, f.path, f.file_sha256 as sha256 from source_files f join periods p on p.period = ?"
            " where f.state = 'landed' and f.night <= ?::date and (f.first_day is null or (f.first_day < p.ends_on and f.last_day >= p.starts_on))"
            " order by all",
            period, through,
        ),
        "policy": entry.facts["policy_fingerprint"] if entry else run.policy.fingerprint,
        "code": run.code,
        "engine": f"duckdb {duckdb.__version__}",
        "approvals": rows(approvals, period, version, version) if _present(con, "approvals") else [],
        "previous": file_sha256(previous) if previous else None,
    }  # fmt: skip


def _place(run: Run, folder: Path, version: int, made: list[Made], facts: dict[str, Any], before: dict[str, str]) -> list[Issued]:
    """One version as a whole folder with its manifest: written beside its place, then moved there.

    Where `before` knows the folder, `Refused` unless every file is the one that was issued: later figures or another release make others.
    """
    period = folder.parent.name
    part, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    issued = []
    for one in made:
        (part / one.name).write_bytes(one.content)
        sync(part / one.name)
        issued.append(
            Issued(period, version, one.state, one.team_id, one.name, f"{period}/{folder.name}/{one.name}", len(one.content), sha256(one.content).hexdigest(), one.kind)
        )
    write_text(part / MANIFEST, json.dumps({**facts, "files": [asdict(one) for one in issued]}, indent=1) + "\n")
    lost = {path: checksum for path, checksum in before.items() if path.startswith(f"{period}/{folder.name}/")}
    if lost and lost != {f"{period}/{folder.name}/{path.name}": file_sha256(path) for path in part.iterdir()}:
        shutil.rmtree(part)
        raise Refused("was issued and is lost, and cannot be made again as it was", str(folder.relative_to(run.home.root)), "restore it from a backup")
    if folder.exists():  # a draft that changed; an issued version is never written twice
        replace_durably(folder, old)
    replace_durably(part, folder)
    shutil.rmtree(old, ignore_errors=True)
    return [*issued, _own(period, version, folder)]


def _own(period: str, version: int, folder: Path) -> Issued:
    """The manifest of a version, as one of its files."""
    path = folder / MANIFEST
    return Issued(period, version, "", None, MANIFEST, f"{period}/{folder.name}/{MANIFEST}", path.stat().st_size, file_sha256(path), "manifest")
