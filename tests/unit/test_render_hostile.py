"""Whatever a name is made of, it stays text: in workbooks, pages and file names. And files do not depend on who makes them where."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.home import Home
from pipelines.render import names, workbook
from tests.unit.test_render import company, opened, texts, verdict

NASTY = (
    '=HYPERLINK("http://evil","x")', "=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1:A9)", "\t=1", "\r=1", "#REF!", "#N/A", "TRUE", "1e5", "00412", "_x0041_", "_x003D_1+1",
    "</t></is></c><c><f>1+1</f></c>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "]]>&lt;&amp;", '"><b>', "' onload='x", "../../etc/passwd", "..\\..\\x", "CON", "a/b:c*?",
    "{{ 7*7 }}", "{% raw %}", "\x00\x07\x1b", "\ufffe\uffff", "line\nfeed", " space ", "‮gnirts", "é e\u0301", "🚀" * 3, "x" * 40_000,
)  # fmt: skip
NAMES = st.lists(st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=30)), min_size=20, max_size=20)
FIELDS = {
    "ledger": "project_id application environment service model",
    "statement_lines": "service model",
    "statements": "team_name cost_center_name legal_entity_name",
    "allocation_rules": "sentence",
    "exceptions": "what detail",
    "invoice_reconciliation": "invoice_id billing_account_id",
    "journal_lines": "line_memo header_memo",
    "policy_vector_indexes": "name",
    "rate_card": "service note",
    "reconciliation": "model",
    "token_weights": "sentence",
}
TEAM_TABLES = ("ledger", "statement_lines", "statements", "journal_lines", "allocation_steps")


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return company(days=2, projects=2)


class Page(HTMLParser):
    """The elements of a page, its attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def made(con: duckdb.DuckDBPyConnection, team: str) -> dict[str, bytes]:
    return {**workbook.files(con, period="2026-10", version=0, team_id=team), "company.xlsx": workbook.company(con, period="2026-10", version=0)}


@pytest.fixture(scope="module")
def harmless(con: duckdb.DuckDBPyConnection) -> dict[str, bytes]:
    return made(con, "search")


def formulas(content: bytes) -> set[str]:
    """Every live formula of a workbook, without its rows; nothing else that Excel would run."""
    found = []
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert not [part for part in file.namelist() if re.search("external|vba|macro|connections|oleObject|embed", part, re.IGNORECASE)]
        for part in file.namelist():
            text = file.read(part).decode("utf-8")
            found += re.findall(r"<f>(.*?)</f>", text, re.DOTALL)
            assert 't="e"' not in text and 'TargetMode="External"' not in text, part
    return {re.sub(r"(?<=[A-Z])\$?\d+", "1", one) for one in found}


def read_as(text: str) -> str:
    """What a reader of the XML sees: without what XML forbids, and with its line ends."""
    return names.cell_text(text).replace("\r\n", "\n").replace("\r", "\n")


@settings(max_examples=2, deadline=None, derandomize=True)
@example(list(NASTY[:20]))
@example(list(NASTY[14:]))
@given(NAMES)
def test_a_name_is_text_wherever_it_stands(con: duckdb.DuckDBPyConnection, harmless: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, hostile: list[str]) -> None:
    """Compared with the same company under harmless names: the same formulas, the same elements, the same files."""
    team = hostile[0] + "search"
    con.execute("begin")
    try:
        number = 0
        for table, fields in FIELDS.items():
            for field in fields.split():
                con.execute(f"update {table} set {field} = $name || {field} where {field} is not null", {"name": hostile[number % len(hostile)]})
                number += 1
        for table in TEAM_TABLES:
            if "team_id" in [name for (name,) in con.execute(f"select column_name from (describe {table})").fetchall()]:
                con.execute(f"update {table} set team_id = $team where team_id = 'search'", {"team": team})
        wanted = con.execute("select project_id, application, service, model from ledger where period = '2026-10' and team_id = $team", {"team": team}).fetchall()
        rude = made(con, team)
    finally:
        con.execute("rollback")

    folder = tmp_path_factory.mktemp("place")
    for name, content in rude.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,90}", name)
        (folder / name).write_bytes(content)
        assert (folder / name).resolve().parent == folder.resolve()
    book, page = (next(content for name, content in rude.items() if name.endswith(ending)) for ending in (".xlsx", ".html"))
    calm, calm_page = (next(content for name, content in harmless.items() if name.endswith(ending)) for ending in (".xlsx", ".html"))
    assert formulas(book) == formulas(calm)
    assert formulas(rude["company.xlsx"]) == formulas(harmless["company.xlsx"])
    columns = ("Project", "Application", "Service", "Model")
    expected = {tuple(None if value is None else read_as(value) for value in row) for row in wanted}
    rows = list(opened(book)["Detail"].iter_rows(values_only=True))
    at = [rows[0].index(name) for name in columns]
    assert {tuple(row[n] for n in at) for row in rows[1:]} == expected
    table = pl.read_excel(io.BytesIO(book), table_name="Detail", engine="openpyxl", infer_schema_length=None)
    assert set(table.select(columns).rows()) == expected
    assert table.height == len(rows) - 1
    ours, theirs = Page(page.decode("utf-8")), Page(calm_page.decode("utf-8"))
    assert set(ours.elements) == set(theirs.elements) and "script" not in ours.elements and ours.attributes == theirs.attributes
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+|#[a-z0-9-]+", link) for link in ours.links)
    assert read_as(hostile[0 + list(FIELDS["ledger"].split()).index("model")] + "gpt-5-mini")[:300] in ours.text.replace("\r\n", "\n").replace("\r", "\n")


PRINT = """
import sys, duckdb
from datetime import date
from hashlib import sha256
from pipelines.render import digest, engineering, index, overview, workbook
con = duckdb.connect(sys.argv[1], read_only=True)
files = workbook.files(con, period='2026-10', version=0, team_id='search', limit=40)
files['company.xlsx'] = workbook.company(con, period='2026-10', version=0)
pages = {'index': index.page(con, []), 'overview': overview.page(con), 'engineering': engineering.page(con)}
pages |= {name: one.html for name, one in digest.pages(con, date(2026, 10, 31)).items()}
files |= {name: text.encode() for name, text in pages.items()}
print(sorted((name, sha256(content).hexdigest()) for name, content in files.items()))
"""


def test_every_process_anywhere_makes_the_same_bytes(small_company: Home) -> None:
    said = []
    for seed, zone in (("1", "Pacific/Kiritimati"), ("4711", "America/Los_Angeles")):
        given_ = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C.UTF-8"}
        said.append(subprocess.run([sys.executable, "-c", PRINT, str(small_company.current)], env=given_, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout)
    assert said[0] == said[1] and said[0].count(".html") > 5


def test_what_does_not_fit_the_sheet_is_summed_and_stands_beside_it_in_full() -> None:
    con = company(days=3, projects=2, applications=4)
    whole = workbook.files(con, period="2026-10", version=0, team_id="search")
    held = opened(whole["APN-2026-10-search-draft.xlsx"])["Detail"].max_row - 1
    cut = workbook.files(con, period="2026-10", version=0, team_id="search", limit=held - 1)
    assert sorted(set(cut) - set(whole)) == ["APN-2026-10-search-draft-detail.parquet"]
    book = opened(cut["APN-2026-10-search-draft.xlsx"])
    sheet = book["Detail"]
    assert "too many rows" in sheet["A1"].value and "APN-2026-10-search-draft-detail.parquet" in sheet["A1"].value
    rows = list(sheet.iter_rows(min_row=3, values_only=True))
    assert len(rows) - 1 < held and sheet.tables["Detail"].ref == f"A3:V{sheet.max_row}"
    full = pl.read_parquet(io.BytesIO(cut["APN-2026-10-search-draft-detail.parquet"]))
    exact = con.execute("select sum(chargeback_cost), count(*) from ledger where period = '2026-10' and team_id = 'search'").fetchall()[0]
    assert full["amount"].sum() == exact[0] and full["ledger_rows"].sum() == exact[1] and full.height == held
    assert sum(row[rows[0].index("Amount")] for row in rows[1:]) == pytest.approx(float(exact[0]), abs=1e-9)
    assert verdict(cut["APN-2026-10-search-draft.xlsx"], "All checks") == "OK"
    assert 'href="APN-2026-10-search-draft-detail.parquet"' in cut["APN-2026-10-search-draft.html"].decode()
    coarse = workbook.files(con, period="2026-10", version=0, team_id="search", limit=1)
    assert verdict(coarse["APN-2026-10-search-draft.xlsx"], "All checks") == "OK" and "one row per line" in opened(coarse["APN-2026-10-search-draft.xlsx"])["Detail"]["A1"].value


def test_the_notes_explain_how_a_change_is_split(con: duckdb.DuckDBPyConnection) -> None:
    said = opened(workbook.team(con, period="2026-10", version=0, team_id="search"))["Notes"]
    explained = {row[1]: row[2] for row in said.iter_rows(values_only=True) if row[1]}
    assert {"Usage", "Volume", "Rate", "Mix", "New, Not counted"} <= set(explained)
    assert "prices of the month before" in explained["Volume"] and "other prices" in explained["Rate"]
    assert "Volume" not in texts(workbook.company(con, period="2026-10", version=0)).split("Words")[-1].split("Rules")[0]
