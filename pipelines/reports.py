"""The statements that leave the house: drafts of open periods, issued versions of closed ones, and the door page.

An issued version is written once, as a whole folder. A draft is rewritten when its figures change.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import duckdb

from pipelines.run import Run, digest
from pipelines.warehouse import replace_durably, sync, write_text

PAGES = ("index.html", "rate-card.html", "overview.html")


@dataclass(frozen=True)
class Issued:
    """One file of one period and version: a workbook, its page, or the rows that did not fit; `href` is relative to reports/."""

    period: str
    version: int
    state: str
    team_id: str | None  # None: the company workbook
    name: str
    href: str
    bytes: int
    sha256: str


def write(run: Run, database: Path) -> list[Issued]:
    """Bring reports/ in step with the published tables in `database`; returns every file of every version that belongs there."""
    from pipelines.render import index, overview

    run.home.reports.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(str(database), read_only=True)
    try:
        versions = con.execute(
            "select distinct s.period, s.version, p.state from statements s join periods p using (period) order by 1 desc, 2 desc"
        ).fetchall()
        issued: list[Issued] = []
        for period, version, _ in versions:
            issued += _version(run, con, period, version)
        for folder in run.home.reports.glob("*/draft"):
            if (folder.parent.name, 0) not in {(period, version) for period, version, _ in versions}:
                shutil.rmtree(folder)
        pages = dict(zip(PAGES, (index.page(con, [asdict(one) for one in issued]), index.rate_card(con), overview.page(con)), strict=True))
    finally:
        con.close()
    for name, page in pages.items():
        target = run.home.reports / name
        if not target.is_file() or target.read_text(encoding="utf-8") != page:
            write_text(target, page)
    return issued


def folder_of(run: Run, period: str, version: int) -> Path:
    return run.home.reports / period / (f"v{version}" if version else "draft")


def _version(run: Run, con: duckdb.DuckDBPyConnection, period: str, version: int) -> list[Issued]:
    folder = folder_of(run, period, version)
    wanted = digest(
        [
            run.code,
            con.execute("from statements where period = ? order by all", [period]).fetchall(),
            con.execute("select sha256(string_agg(l::varchar, '' order by line_no, team_id)) from statement_lines l where period = ?", [period]).fetchall(),
            con.execute("select sha256(string_agg(ledger_id || effective_cost, '' order by ledger_id)) from ledger where period = ?", [period]).fetchall(),
            con.execute("from reconciliation where period = ? order by all", [period]).fetchall(),
            con.execute("from billing_coverage where period = ? order by all", [period]).fetchall(),
            con.execute("from invoice_reconciliation where period <= ? order by all", [period]).fetchall(),
            con.execute("select * exclude (events) from exceptions order by all").fetchall(),
            con.execute("from cost_changes where period = ? order by all", [period]).fetchall(),
            con.execute("from rate_card order by all").fetchall(),
            con.execute("from gpu_equivalents order by all").fetchall(),
        ]
    )
    manifest = folder / "manifest.json"
    if manifest.is_file():
        known = json.loads(manifest.read_text(encoding="utf-8"))
        if version or known["figures"] == wanted:
            return [Issued(**one) for one in known["files"]]
    run.say(f"write {folder.relative_to(run.home.root)}")
    files = _render(con, period, version)
    issued = _place(run, folder, files, wanted, version)
    return issued


def _render(con: duckdb.DuckDBPyConnection, period: str, version: int) -> dict[str, tuple[str, str | None, bytes]]:
    """File name -> (state, team, bytes) of every file of one version: per team a workbook and its page, and the company's workbook."""
    from pipelines.render import names, workbook

    rows = con.execute(
        "select team_id, any_value(state) from statements where period = ? and version = ? group by all order by 1", [period, version]
    ).fetchall()
    files = {
        name: (state, team, content)
        for team, state in rows
        for name, content in workbook.files(con, period=period, version=version, team_id=team).items()
    }
    state = rows[0][1] if rows else "DRAFT"
    files[names.workbook_name(period, version, None)] = (state, None, workbook.company(con, period=period, version=version))
    return files


def _place(run: Run, folder: Path, files: dict[str, tuple[str, str | None, bytes]], figures: str, version: int) -> list[Issued]:
    """One version as a whole folder with its manifest: written beside its place, then moved there."""
    period = folder.parent.name
    part, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    issued = []
    for name, (state, team, content) in files.items():
        (part / name).write_bytes(content)
        sync(part / name)
        href = f"{period}/{folder.name}/{name}"
        issued.append(Issued(period, version, state, team, name, href, len(content), sha256(content).hexdigest()))
    write_text(part / "manifest.json", json.dumps({"figures": figures, "files": [asdict(one) for one in issued]}, indent=1) + "\n")
    if folder.exists():  # a draft that changed; an issued version is never written twice
        replace_durably(folder, old)
    replace_durably(part, folder)
    shutil.rmtree(old, ignore_errors=True)
    return issued
