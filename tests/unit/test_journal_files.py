"""Import files of the journal: a golden file per ERP, and balance within its limits whatever the names and amounts."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipelines.policy.files import Accounts
from pipelines.render import index, journal
from pipelines.render.journal import PROFILES, Document, Profile, balanced, clean, documents
from tests.unit.test_render import company

GOLDEN = Path(__file__).parent / "journal"
COMPANIES = {"US": "1000", "IE": "2000"}
ACCOUNTS = Accounts.model_validate(
    {"version": 1, "journals": [{"erp": erp, "companies": COMPANIES, "ledgers": {"US": "300", "IE": "301"}} for erp in PROFILES]}
)
SHAPE = (
    "je_id varchar, line_no integer, posting_date date, period varchar, version integer, legal_entity varchar, partner_entity varchar, kind varchar,"
    " role varchar, currency varchar, gl_account varchar, cost_center varchar, team_id varchar, activity varchar, debit decimal(18, 2), credit decimal(18, 2),"
    " line_memo varchar, header_memo varchar, reference varchar, reversal_date date"
)


def row(je: str, entity: str, role: str, amount: str, **other: Any) -> dict[str, Any]:
    value = Decimal(amount)
    made = {
        "je_id": je, "line_no": 1, "posting_date": date(2026, 10, 31), "period": "2026-10", "version": 1, "legal_entity": entity, "partner_entity": None,
        "kind": "chargeback", "role": role, "currency": "USD", "gl_account": "6215-10", "cost_center": "CC-1", "team_id": "search", "activity": "inference",
        "debit": max(value, Decimal(0)), "credit": max(-value, Decimal(0)), "line_memo": "AI inference 2026-10",
        "header_memo": 'AI chargeback 2026-10 =cmd|"x", Søk & Größe', "reference": "APN-2026-10-search-CC-1-v1", "reversal_date": None,
    }  # fmt: skip
    return {**made, **other}


def accrued(je: str, sign: int, **other: Any) -> list[dict[str, Any]]:
    return [
        row(je, "US", "expense", f"{sign * 20}.00", version=0, **other),
        row(je, "US", "accrued", f"{-sign * 20}.00", version=0, gl_account="2150", cost_center=None, line_no=2, **other),
    ]


LINES = [
    row("APN2610-V1-0001", "US", "expense", "60.01"),
    row("APN2610-V1-0001", "US", "recovery", "-60.01", gl_account="6299", line_no=2),
    row("APN2610-V1-0002", "IE", "expense", "39.99", kind="intercompany", cost_center="CC-5"),
    row("APN2610-V1-0002", "IE", "due_to", "-39.99", kind="intercompany", gl_account="2310", cost_center=None, line_no=2),
    row("APN2610-V1-0002", "US", "due_from", "39.99", kind="intercompany", gl_account="1310", cost_center=None, line_no=3),
    row("APN2610-V1-0002", "US", "recovery", "-39.99", kind="intercompany", gl_account="6299", cost_center="CC-9", line_no=4),
    *accrued("APN2610-A-0001", 1, kind="accrual", reversal_date=date(2026, 11, 1)),
    *accrued("APN2610-R-0001", -1, kind="reversal", posting_date=date(2026, 11, 1)),
]


def published(lines: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(f"create table journal_lines({SHAPE})")
    for line in lines:
        con.execute(f"insert into journal_lines({', '.join(line)}) values ({', '.join('?' * len(line))})", list(line.values()))
    return con


@pytest.mark.parametrize("erp", sorted(PROFILES))
def test_golden_files(erp: str) -> None:
    """What each ERP gets of one entry, one intercompany entry, and an accrual in review. To renew: write what `made` holds."""
    con = published(LINES)
    made = {**journal.files(con, ACCOUNTS, "2026-10", 1), **journal.files(con, ACCOUNTS, "2026-10", 0)}
    text = "".join(f"==> {name}\n{content.decode()}" for name, content in sorted(made.items()) if f"-{erp}" in name)
    assert text == (GOLDEN / f"{erp}.txt").read_text(encoding="utf-8")


def test_the_periods_of_an_erp_are_those_of_the_label() -> None:
    """A period of weeks ends in another calendar month than its label's, or its accrual is taken back in the same one."""
    days = {"posting_date": date(2026, 11, 1), "reversal_date": date(2026, 11, 2)}
    lines = [*accrued("APN2610-A-0001", 1, kind="accrual", **days), *accrued("APN2611-A-0001", 1, kind="accrual", period="2026-11", posting_date=date(2026, 11, 29), reversal_date=date(2026, 11, 30))]
    netsuite, oracle = documents(lines, PROFILES["netsuite"], {}, {}), documents(lines, PROFILES["oracle"], {}, {"US": "300"})
    assert [line.split(",")[2] for line in journal._render("netsuite", documents=netsuite, profile=PROFILES["netsuite"]).decode().splitlines()[1::2]] == ["Oct 2026", "Nov 2026"]
    assert re.findall(r",[A-Z][a-z]{2}-\d\d,S,", journal._render("oracle", documents=oracle, profile=PROFILES["oracle"]).decode())[::2] == [",Nov-26,S,", ",Dec-26,S,"]


def test_what_is_written_when() -> None:
    con = published(LINES)
    assert list(journal.files(con, Accounts(version=1), "2026-10", 1)) == ["APN-2026-10-v1-journal.csv"]
    assert journal.files(con, ACCOUNTS, "2026-11", 0) == journal.files(con, ACCOUNTS, "2026-11", 1) == {}
    draft = journal.files(con, ACCOUNTS, "2026-10", 0)
    assert all("accrual-not-approved" in name for name in draft) and b"NOT APPROVED AI" in draft["APN-2026-10-draft-accrual-not-approved.csv"]
    assert "APN-2026-10-v1-journal-netsuite-intercompany.csv" in journal.files(con, ACCOUNTS, "2026-10", 1)
    con.execute("create table periods as select '2026-10' as period, 1 as version")
    con.execute("create table approvals as select '2026-10' as period, 1 as version, 'approve' as step, true as counts")
    assert journal.files(con, ACCOUNTS, "2026-10", 0) == draft  # what was approved is version 1, the draft will be version 2
    con.execute("update approvals set version = 2")
    approved = journal.files(con, ACCOUNTS, "2026-10", 0)
    assert "APN-2026-10-draft-accrual-sap.csv" in approved and b"NOT APPROVED" not in b"".join(approved.values())
    con.execute("update approvals set counts = false")
    assert journal.files(con, ACCOUNTS, "2026-10", 0) == draft


def test_the_canonical_file_has_every_column_and_line() -> None:
    (content,) = journal.files(published(LINES), Accounts(version=1), "2026-10", 1).values()
    read = list(csv.DictReader(io.StringIO(content.decode())))
    assert len(read) == 6 and list(read[0]) == [part.split()[0] for part in SHAPE.split(", ") if part.split()[0] != "2)"]
    assert sum(Decimal(one["debit"]) - Decimal(one["credit"]) for one in read) == 0
    assert read[0]["header_memo"] == "AI chargeback 2026-10  cmd  x , Søk & Größe"


HOSTILE = st.text(max_size=60) | st.sampled_from(['=HYPERLINK("http://evil","x")', "+1", "-1", "@sum(A1)", "\t=1", "a\r\nb", '"', "';drop", "=cmd|' /C calc'!A0", "\u202eabc", "ﬁ＝1"])
CENTS = st.integers(-10**14, 10**14).filter(bool) | st.integers(-5_000, 5_000).filter(bool)


def small(profile: Profile) -> Profile:
    """The same, cut sooner."""
    return Profile(**{**profile.__dict__, "most_lines": 7})


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data())
def test_every_document_is_balanced_and_within_its_limits(data: st.DataObject) -> None:
    profile = small(PROFILES[data.draw(st.sampled_from(sorted(PROFILES)))])
    lines = []
    for number in range(data.draw(st.integers(1, 3))):
        for entity in data.draw(st.sampled_from([("US",), ("US", "IE")])):
            cents = data.draw(st.lists(CENTS, min_size=1, max_size=25))
            cents += [-sum(cents)] if sum(cents) else []
            for amount in cents:
                text = {name: data.draw(HOSTILE) for name in ("gl_account", "cost_center", "line_memo", "header_memo", "reference")}
                lines.append(row(f"APN2610-V1-000{number}", entity, "expense", str(Decimal(amount) / 100), **text))
    found = documents(lines, profile, {}, {})
    posted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for document in found:
        sums: dict[str, Decimal] = defaultdict(Decimal)
        assert 2 <= len(document.lines) <= profile.most_lines
        assert len(document.memo) <= profile.header_memo and len(document.number) <= profile.number
        for line in document.lines:
            assert 0 < abs(line.amount) <= profile.largest and len(line.memo) <= profile.line_memo
            sums[line.legal_entity] += line.amount
            posted[line.legal_entity, line.account] += line.amount
        assert set(sums.values()) == {Decimal(0)}
    assert len({document.number for document in found}) == len(found)
    wanted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in lines:
        wanted[line["legal_entity"], clean(line["gl_account"], 80)] += line["debit"] - line["credit"]
    assert {key: amount for key, amount in posted.items() if amount} == {key: amount for key, amount in wanted.items() if amount}
    for content in journal_files(found, profile):
        for record in csv.reader(io.StringIO(content)):
            assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r", "'") for cell in record), record
            assert not any(sign in cell for cell in record for sign in "\n\r\t\"'|;")


def journal_files(found: list[Document], profile: Profile) -> list[str]:
    return [journal._render(profile.erp, documents=chosen, profile=profile).decode() for _, chosen in journal._by_file(found, profile)]


def test_parts_of_a_long_entry_add_up_to_it() -> None:
    profile = PROFILES["sap"]
    lines = [row("APN2610-V1-0001", "US", "expense", "0.01") for _ in range(2_500)] + [row("APN2610-V1-0001", "US", "recovery", "-25.00", gl_account="6299")]
    found = documents(lines, profile, COMPANIES, {})
    assert [len(document.lines) for document in found] == [999, 999, 505] and found[0].number == "APN2610-V1-0001-1"
    assert [document.lines[-1].credit for document in found] == ["9.98", "9.98", "5.04"]
    (whole,) = balanced(list(found[0].lines), 999, profile.largest)
    assert whole == list(found[0].lines)


def test_text_that_is_allowed_stays_as_it_is() -> None:
    for text in ("6215-10", "Larkfield Inc. : Larkfield Ireland Ltd.", "APN-2026-10-search-CC-1-v1", "Søk & Größe (AI) #1, a/b_c"):
        assert clean(text, 80) == text
    assert clean("  =-+@x\0y", 80) == "x y" and clean("=", 5) == "" and clean("abcd ef", 5) == "abcd"


def test_the_door_page_lists_the_files_of_the_newest_version() -> None:
    def issued(version: int, name: str, kind: str, team: str | None = None) -> dict[str, Any]:
        folder = f"v{version}" if version else "draft"
        return {"period": "2026-10", "version": version, "state": "DRAFT", "team_id": team, "name": name, "href": f"2026-10/{folder}/{name}", "bytes": 2_000, "sha256": "0" * 64, "kind": kind}

    con = company(days=2, projects=1)
    page = index.page(con, [issued(0, "APN-company.xlsx", "workbook"), issued(0, "APN-accrual-sap.csv", "journal"), issued(0, "manifest.json", "manifest")])
    assert "Journal files for import" in page and 'href="2026-10/draft/APN-accrual-sap.csv"' in page
    assert 'href="2026-10/draft/APN-company.xlsx"' in page
    assert "Journal files for import" not in index.page(con, [issued(0, "APN-company.xlsx", "workbook")])
