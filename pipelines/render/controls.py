"""The Controls and Notes sheets: what was proved, and how to read the figures."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipelines.render import figures, words
from pipelines.render.book import EXACT, MONEY, NOTE, TEXT, Book, Column, Look
from pipelines.render.figures import CENT, ZERO, Row

if TYPE_CHECKING:
    from pipelines.render.team import Team

_MONEY = Look(MONEY, align="right")
CHECKS = (
    Column("Check", 30, Look(bold=True)), Column("What it proves", 52, NOTE), Column("Expected", 18, Look(EXACT)),
    Column("Actual", 18, Look(EXACT)), Column("Difference", 16, Look(EXACT)), Column("Tolerance", 12, Look(MONEY)),
    Column("Result", 13, Look(bold=True, align="center")),
)  # fmt: skip


def check_block(book: Book, ws: Any, row: int, checks: list[tuple[str, str, Any, Any, Decimal]]) -> int:
    """Rows of (name, meaning, expected, actual, tolerance) with OK or CHECK, then one cell that sums them up.

    Expected and actual are Decimals or (formula, value). Returns the row after the block; the sum-up is named Checks.
    """
    book.section(ws, row, 2, 8, "Checks")
    book.header(ws, row + 1, CHECKS)
    first = row = row + 2
    good = True
    for name, meaning, expected, actual, tolerance in checks:
        value = [side[1] if isinstance(side, tuple) else side for side in (expected, actual)]
        fine = abs(value[0] - value[1]) <= tolerance
        good = good and fine
        verdict = (f'IF(ABS(F{row})<=G{row}+0.0000001,"OK","CHECK")', "OK" if fine else "CHECK")
        book.line(ws, row, CHECKS, [name, meaning, expected, actual, (f"E{row}-D{row}", value[1] - value[0]), tolerance, verdict])
        row += 1
    verdict = (f'IF(COUNTIF(H{first}:H{row - 1},"OK")=ROWS(H{first}:H{row - 1}),"OK","CHECK")', "OK" if good else "CHECK")
    book.total(ws, row, CHECKS, ["All checks", *[None] * 5, verdict])
    book.good_or_bad(ws, f"H{first}:H{row}")
    book.name("Checks", ws.title, f"H{row}")
    return row + 2


def all_good(book: Book, title: str = "Controls") -> str:
    """The value of the Checks cell, once it is written."""
    verdicts = [value for value in book._cached[title].values() if value in ("OK", "CHECK")]
    return verdicts[-1]


def team_sheet(team: Team, title: str) -> None:
    ws = team.book.sheet(title, "Controls and reconciliation", [c.width for c in CHECKS])
    lines, total = team.lines, team.total
    exact = sum((row["amount"] for row in team.detail), ZERO)
    on_lines = sum((line["exact"] for line in lines), ZERO)
    posted = sum((line["amount"] for line in lines), ZERO)
    worst = max((abs(line["amount"] - line["exact"]) for line in lines), default=ZERO)
    ledger_rows = sum(row["ledger_rows"] for row in team.detail)
    held = team.con.execute(
        "select count(*) from ledger where period = $period and version = $version and team_id = $team_id", team.scope
    ).fetchone()[0]
    allowed = CENT * max(1, len(lines))
    checks = [
        ("Statement ties to its lines", "The total of the statement is the sum of its lines, to the cent", total, (f"Statement!{team.total_cell}", posted), ZERO),
        ("Lines tie to Detail", "What the lines sum from is in Detail; below a cent per line is rounding", total, ("SUM(Detail[Amount])", exact), allowed),
        ("Every line ties to Detail", "Sum of the differences on the Statement sheet", ZERO, (f"Statement!M{team.total_cell[1:]}", ZERO), ZERO),
        ("Rounding", "The largest rounding of any one line is below one cent", ZERO, worst, CENT),
        ("Nothing off the lines", "Detail that is on no line: amounts too small for a cent", on_lines, ("SUM(Detail[Amount])", exact), allowed),
        ("Days tie to Detail", "The Days sheet shows the same money", sum((sum(s, ZERO) for _, s in team.by_day()), ZERO) if team.by_day() else exact, ("SUM(Detail[Amount])", exact), CENT),
        ("Ledger row count", "No ledger row is missing from Detail", Decimal(held), ("SUM(Detail[Ledger rows])", Decimal(ledger_rows)), ZERO),
    ]  # fmt: skip
    row = check_block(team.book, ws, 4, checks)
    row = _hashes(team, ws, row)
    _invoices(team, ws, row)


def _hashes(team: Team, ws: Any, row: int) -> int:
    """The ledger behind each statement, identified by its hash, computed again while this file was written."""
    columns = (CHECKS[0], Column("SHA-256 over the ledger rows behind it", 52, Look(size=9)))
    team.book.section(ws, row, 2, 8, "The ledger behind each statement")
    row += 1
    for statement in team.statements:
        again = figures.ledger_hash(team.con, team.scope["period"], team.scope["version"], statement["team_id"], statement["cost_center"])
        team.book.line(ws, row, columns, [statement["statement_id"], statement["ledger_hash"] or "none"])
        team.book.put(ws, row, 8, "OK" if again == statement["ledger_hash"] else "CHECK", Look(bold=True, align="center"))
        team.book.good_or_bad(ws, f"H{row}")
        row += 1
    return row + 1


def _invoices(team: Team, ws: Any, row: int) -> None:
    columns = (
        Column("Vendor and account", 30), Column("Invoice", 52, NOTE), Column("Billed to the company", 18, _MONEY), Column("Carried by this team", 18, _MONEY),
        Column("Cost after discounts", 16, _MONEY), Column("Currency", 12, Look(indent=1)), Column("Bill", 13, NOTE),
    )  # fmt: skip
    team.book.section(ws, row, 2, 8, "Vendor invoices behind this statement")
    team.book.header(ws, row + 1, columns)
    row = first = row + 2
    chosen = [one for one in team.invoices if one["my_billed"] or one["my_effective"]]
    for one in chosen:
        values = (one["billed_cost"], one["my_billed"], one["my_effective"])
        team.book.line(ws, row, columns, [_account(one), one["invoice_id"] or no_invoice(one), *values, one["billing_currency"], one["estimate_status"]])
        row += 1
    if len({one["billing_currency"] for one in chosen}) == 1:
        sums = [sum((one[key] for one in chosen), ZERO) for key in ("my_billed", "my_effective")]
        totals = [(f"SUM({c}{first}:{c}{row - 1})", value) for c, value in zip("EF", sums, strict=True)]
        team.book.total(ws, row, columns, ["Total", None, None, *totals, None, None])
    note = "Carried by this team is its part of the invoice, own use and shares together. Accruals and own hardware have no vendor bill: billed is zero there."
    team.book.put(ws, row + 2, 2, note, NOTE)


def _account(one: Row) -> str:
    return "  ·  ".join(str(part) for part in (one["provider"], one["billing_account_id"]) if part)


def no_invoice(one: Row) -> str:
    return "no invoice number yet" if one["billed_cost"] else "no vendor bill: accrual or own hardware"


_READING = (
    ("Statement", "What the team is charged, in whole cents. These figures are posted; they do not change when other cells do."),
    ("In Detail, Difference", "Live formulas over the Detail sheet. If a cell of Detail is changed, the difference turns red; the posted amount stays."),
    ("Rounding", "All lines of a month and legal entity are rounded together, so that they add up to their rounded sum. No line moves by a whole cent."),
    ("DRAFT, FINAL, SUPERSEDED", "A draft is rewritten every night until its month is closed. A final version never changes; a later version replaces it."),
    ("Own usage", "Calls, queries, jobs and training that the team made itself, at the cost of the vendor's bill after discounts, or at the rate card."),
    ("Share of common cost", "Cost that many teams cause together. The sheet Shared costs shows the rule, our units and all units."),
    ("Corrections", "Late or restated bills and usage of a month that is already closed are booked in the open month."),
    ("List cost", "What the same usage would have cost at the vendor's public price, in the currency of the bill."),
    ("Effective cost", "Cost after discounts, commitments and amortization; what is shared and charged."),
    ("Status Estimated", "No final bill covers that day yet: the amount is accrued at our prices and replaced when the bill comes."),
    ("Unallocated", "Cost without a known owner stays visible with its reason. It is never spread silently."),
    ("Days", "A day is a UTC day."),
)  # fmt: skip


def notes_sheet(book: Book, title: str, rules: list[Row], grain: str | None) -> None:
    ws = book.sheet(title, "How to read this workbook", [30, 118])
    row = 4
    book.section(ws, row, 2, 3, "Words")
    reading = [*_READING]
    if grain:
        reading.insert(0, ("Detail", f"The ledger behind every line: {grain}. A row without a line number is on no line: less than a cent."))
    for word, meaning in reading:
        row += 1
        book.put(ws, row, 2, word, Look(bold=True, valign="top"))
        words.paragraph(book, ws, row, 3, 3, meaning, 118)
    row += 2
    book.section(ws, row, 2, 3, "Rules behind these figures")
    for rule in rules:
        row += 1
        book.put(ws, row, 2, rule["rule_id"], Look(bold=True, valign="top"))
        words.paragraph(book, ws, row, 3, 3, rule["sentence"] or "", 118)
    row += 2
    book.section(ws, row, 2, 3, "What is not known")
    text = "What cannot be measured, priced or assigned is listed with its amount on the Exceptions sheet of the company workbook."
    words.paragraph(book, ws, row + 1, 2, 3, text, 148, replace(TEXT))
