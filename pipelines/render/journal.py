"""Import files of the journal: the canonical lines of a version, in the columns and within the limits of each ERP.

A template under `reports/templates/journal/` says the columns, its profile here the limits. Text is cleaned to an allow-list and
never prefixed: an ERP would book the prefix.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.home import asset
from pipelines.policy.calendar import month_days, next_label
from pipelines.policy.files import Accounts
from pipelines.render import figures
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import slug

NOT_APPROVED = "NOT APPROVED "
_ALLOWED = " .,:/()&#_-"
_CANONICAL = (
    "je_id", "line_no", "posting_date", "period", "version", "legal_entity", "partner_entity", "kind", "role", "currency", "gl_account",
    "cost_center", "team_id", "activity", "debit", "credit", "line_memo", "header_memo", "reference", "reversal_date",
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """What one ERP's import takes."""

    erp: str
    header_memo: int  # characters
    line_memo: int
    number: int  # characters of a document's number
    most_lines: int  # of one document
    largest: Decimal  # amount of one line
    dates: str
    reverses: bool = False  # takes an accrual back by itself on its reversal date; others get the reversal as documents
    per_entity: bool = False  # one file per legal entity: the ERP holds one company
    intercompany: bool = False  # books both sides of an intercompany entry as one document, from a file of its own


PROFILES = {
    profile.erp: profile
    for profile in (
        Profile("netsuite", 999, 999, 60, 1_000, Decimal("9999999999.99"), "%m/%d/%Y", reverses=True, intercompany=True),
        Profile("sap", 25, 50, 20, 999, Decimal("99999999999.99"), "%Y-%m-%d"),
        Profile("oracle", 100, 240, 100, 5_000, Decimal("99999999999.99"), "%Y/%m/%d", reverses=True),
        Profile("quickbooks", 1_000, 1_000, 21, 1_000, Decimal("99999999999.99"), "%m/%d/%Y", per_entity=True),
        Profile("workday", 250, 250, 60, 5_000, Decimal("9999999999999999.99"), "%Y-%m-%d", reverses=True),
    )
}


@dataclass(frozen=True)
class Line:
    """A line as it is written; `amount` is positive for a debit."""

    legal_entity: str
    company: str
    account: str
    cost_center: str
    memo: str
    role: str
    amount: Decimal

    @property
    def debit(self) -> str:
        return f"{self.amount:f}" if self.amount > 0 else ""

    @property
    def credit(self) -> str:
        return f"{-self.amount:f}" if self.amount < 0 else ""


@dataclass(frozen=True)
class Document:
    """One entry as the ERP books it: balanced in each legal entity."""

    number: str
    entry: str  # je_id, which parts of one entry share
    reference: str
    memo: str
    kind: str
    currency: str
    company: str  # of the first line
    ledger: str
    period: str  # label of the period that it posts
    posting_date: date
    reversal_date: date | None
    lines: tuple[Line, ...]

    @property
    def posting_month(self) -> date:
        """A day of the month that the ERP calls the period by: that of its label, which days of a calendar of weeks may not be in."""
        return month_days(self.period)[0]

    @property
    def reversal_month(self) -> date:
        return month_days(next_label(self.period))[0]

    @property
    def total(self) -> str:
        return f"{sum((line.amount for line in self.lines if line.amount > 0), ZERO):f}"


def files(con: duckdb.DuckDBPyConnection, accounts: Accounts, period: str, version: int) -> dict[str, bytes]:
    """File name -> bytes of what finance imports: the journal of an issued version, or the accrual of a draft in review."""
    lines = figures.rows(con, "from journal_lines where period = $period and version = $version order by je_id, line_no", period=period, version=version)
    if not version:
        lines = [line for line in lines if line["kind"] in ("accrual", "reversal")]
    if not lines:
        return {}
    approved = bool(version) or _approved(con, period)
    stem = f"APN-{slug(period)}-v{version}-journal" if version else f"APN-{slug(period)}-draft-accrual{'' if approved else '-not-approved'}"
    made = {f"{stem}.csv": _render("canonical", columns=_CANONICAL, lines=[{**line, "memos": NOT_APPROVED * (not approved)} for line in lines])}
    for journal in accounts.journals:
        profile = PROFILES[journal.erp]
        found = documents(lines, profile, journal.companies, journal.ledgers, "" if approved else NOT_APPROVED)
        for suffix, chosen in _by_file(found, profile):
            made[f"{stem}-{journal.erp}{suffix}.csv"] = _render(journal.erp, documents=chosen, profile=profile)
    return made


def _approved(con: duckdb.DuckDBPyConnection, period: str) -> bool:
    """Whether the draft's figures have an approval that counts for the version they would be closed as."""
    if not con.execute("select count(*) from duckdb_tables() where table_name = 'approvals'").fetchall()[0][0]:
        return False
    found = con.execute(
        "select count(*) from approvals a join periods p on p.period = a.period and a.version = p.version + 1"
        " where a.period = ? and a.step = 'approve' and a.counts",
        [period],
    )
    return bool(found.fetchall()[0][0])


def documents(
    lines: list[Row], profile: Profile, companies: dict[str, str], ledgers: dict[str, str], mark: str = ""
) -> list[Document]:
    """The entries as documents within the profile's limits. One for each legal entity of an entry, unless the ERP takes both sides."""
    entries: dict[str, list[Row]] = defaultdict(list)
    for line in lines:
        if not (profile.reverses and line["kind"] == "reversal"):
            entries[line["je_id"]].append(line)
    made = []
    for je_id, rows in entries.items():
        sides: dict[str, list[Line]] = defaultdict(list)
        for row in rows:
            entity = row["legal_entity"]
            memo = clean(f"{row['reference']} {row['line_memo']}", profile.line_memo)
            texts = (clean(row[key] or "", 80) for key in ("gl_account", "cost_center"))
            company = clean(companies.get(entity, entity), 80)
            sides[entity].append(Line(entity, company, *texts, memo, row["role"], row["debit"] - row["credit"]))
        whole = [line for side in sides.values() for line in side]
        if profile.intercompany and len(whole) <= profile.most_lines and all(abs(line.amount) <= profile.largest for line in whole):
            parts = [whole]
        else:
            parts = [part for side in sides.values() for part in balanced(side, profile.most_lines, profile.largest)]
        head = rows[0]
        for at, part in enumerate(parts, start=1):
            number = je_id if len(parts) == 1 else f"{je_id}-{at}"
            ledger = clean(ledgers.get(part[0].legal_entity, ""), 80)
            made.append(
                Document(
                    clean(number, profile.number), clean(je_id, profile.number), clean(head["reference"], profile.line_memo), clean(mark + head["header_memo"], profile.header_memo), head["kind"],
                    head["currency"], part[0].company, ledger, head["period"], head["posting_date"], head["reversal_date"], tuple(part),
                )
            )  # fmt: skip
    return made


def balanced(lines: list[Line], most: int, largest: Decimal) -> list[list[Line]]:
    """Balanced lines cut into balanced parts of at most `most` lines, none above `largest`.

    The line with the largest amount balances each part; its pieces add up to it.
    """
    if len(lines) <= most and all(abs(line.amount) <= largest for line in lines):
        return [lines]
    counter = max(lines, key=lambda line: (abs(line.amount), -lines.index(line)))
    parts: list[list[Line]] = [[]]
    for piece in (piece for line in lines if line is not counter for piece in _pieces(line, line.amount, largest)):
        trial = [*parts[-1], piece]
        if parts[-1] and len(trial) + len(_pieces(counter, -_sum(trial), largest)) > most:
            parts.append([piece])
        else:
            parts[-1] = trial
    return [[*part, *_pieces(counter, -_sum(part), largest)] for part in parts]


def _pieces(line: Line, amount: Decimal, largest: Decimal) -> list[Line]:
    """The line with this amount, as many times as it takes; not at all for nothing."""
    made, left = [], abs(amount)
    while left:
        part = min(left, largest)
        made.append(replace(line, amount=part if amount > 0 else -part))
        left -= part
    return made


def _sum(lines: Iterable[Line]) -> Decimal:
    return sum((line.amount for line in lines), ZERO)


def _by_file(found: list[Document], profile: Profile) -> list[tuple[str, list[Document]]]:
    """(end of the file's name, its documents)."""
    groups: dict[str, list[Document]] = defaultdict(list)
    for one in found:
        between = profile.intercompany and len({line.legal_entity for line in one.lines}) > 1
        groups[f"-{slug(one.lines[0].legal_entity)}" if profile.per_entity else "-intercompany" if between else ""].append(one)
    return sorted(groups.items())


def clean(text: str, longest: int) -> str:
    """Letters, digits and a little punctuation, beginning with a letter or digit: nothing that a spreadsheet or an ERP would run."""
    plain = "".join(sign if sign.isalnum() or sign in _ALLOWED else " " for sign in unicodedata.normalize("NFKC", text))
    while plain and not plain[0].isalnum():
        plain = plain[1:]
    return plain[:longest].rstrip()


def _csv(values: Iterable[Any]) -> str:
    """One row, quoted where it needs to be."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(["" if value is None else value for value in values])
    return out.getvalue()


def _render(template: str, **parts: Any) -> bytes:
    folder = asset("reports", "templates", "journal")
    environment = Environment(
        loader=FileSystemLoader(str(folder)), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"csv": _csv, "clean": clean}
    return environment.get_template(f"{template}.csv.j2").render(**parts).encode("utf-8")
