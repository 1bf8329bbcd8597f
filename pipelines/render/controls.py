"""The Controls and Notes sheets: what was proved, and how to read the figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipelines.render import figures, words
from pipelines.render.book import COUNT, EXACT, MONEY, NOTE, Book, Column, Look
from pipelines.render.figures import CENT, ZERO, Row

if TYPE_CHECKING:
    from pipelines.render.team import Team

_MONEY = Look(MONEY, align="right")
CHECKS = (
    Column("Check", 36, Look(bold=True)), Column("What it proves", 54, replace(NOTE, wrap=True)), Column("Expected", 18, Look(EXACT)),
    Column("Actual", 18, Look(EXACT)), Column("Difference", 16, Look(EXACT)), Column("Tolerance", 12, Look(MONEY)),
    Column("Result", 12, Look(bold=True, align="center")),
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """Two numbers that must agree; each is a Decimal or (formula, value)."""

    name: str
    meaning: str
    expected: Any
    actual: Any
    tolerance: Decimal = ZERO
    format: str = EXACT

    @property
    def difference(self) -> Decimal:
        expected, actual = (side[1] if isinstance(side, tuple) else side for side in (self.expected, self.actual))
        return actual - expected

    @property
    def holds(self) -> bool:
        return abs(self.difference) <= self.tolerance


def check_block(book: Book, ws: Any, row: int, checks: list[Check]) -> int:
    """The checks with OK or CHECK, then one cell that sums them up, named Checks. Returns the row after the block."""
    book.section(ws, row, 2, 8, "Checks")
    book.header(ws, row + 1, CHECKS)
    first = row = row + 2
    for check in checks:
        columns = [replace(c, look=replace(c.look, format=check.format)) if c.look.format == EXACT else c for c in CHECKS]
        verdict = (f'IF(ABS(F{row})<=G{row}+0.0000001,"OK","CHECK")', "OK" if check.holds else "CHECK")
        book.line(ws, row, columns, [check.name, check.meaning, check.expected, check.actual, (f"E{row}-D{row}", check.difference), check.tolerance, verdict])
        row += 1
    good = all(check.holds for check in checks)
    verdict = (f'IF(COUNTIF(H{first}:H{row - 1},"OK")=ROWS(H{first}:H{row - 1}),"OK","CHECK")', "OK" if good else "CHECK")
    book.total(ws, row, CHECKS, ["All checks", *[None] * 5, verdict])
    book.good_or_bad(ws, f"H{first}:H{row}")
    book.name("Checks", ws.title, f"H{row}")
    return row + 2


def all_good(book: Book, title: str = "Controls") -> str:
    """The value of the Checks cell, once it is written."""
    verdicts = [value for value in book.computed[title].values() if value in ("OK", "CHECK")]
    return verdicts[-1]


def team_sheet(team: Team, title: str) -> None:
    ws = team.book.sheet(title, "Controls and reconciliation", [c.width for c in CHECKS])
    row = check_block(team.book, ws, 4, team_checks(team))
    row = _hashes(team, ws, row)
    row = _approvals(team, ws, row)
    row = _invoices(team, ws, row)
    team.book.one_page(ws, row)


def team_checks(team: Team) -> list[Check]:
    lines, total = team.lines, team.total
    exact = team.detail.amount
    on_lines = sum((line["exact"] for line in lines), ZERO)
    posted = sum((line["amount"] for line in lines), ZERO)
    worst = max((abs(line["amount"] - line["exact"]) for line in lines), default=ZERO)
    ledger_rows = Decimal(team.detail.ledger_rows)
    held = Decimal(figures.ledger_rows(team.con, **team.scope))
    detail = ("SUM(Detail[Amount])", exact)
    rounded = CENT * figures.roundings(team.con, team.period, team.scope["version"])
    allowed = rounded * max(1, len(lines))
    checks = [
        Check("Statement ties to its lines", "The total of the statement is the sum of its lines, to the cent", total, (f"Statement!{team.total_cell}", posted)),
        Check("Lines tie to Detail", "What the lines sum from is in Detail; below a cent per line is rounding", total, detail, allowed),
        Check("Every line ties to Detail", "Sum of the differences on the Statement sheet", ZERO, (f"Statement!N{team.total_cell[1:]}", ZERO)),
        Check("Rounding", "The largest rounding of any one line is below one cent for each version of the month", ZERO, worst, rounded),
        Check("Nothing off the lines", "Detail that is on no line: amounts too small for a cent", on_lines, detail, allowed),
        Check("Ledger row count", "No ledger row is missing from Detail", held, ("SUM(Detail[Ledger rows])", ledger_rows), format=COUNT),
    ]
    used = sum((use["amount"] for use in figures.uses(team.con)), ZERO)
    direct = sum((line["exact"] for line in lines if line["category"] == "direct"), ZERO)
    checks.append(Check("Usage ties to the lines", "What the Usage sheet shows is what the lines of own usage sum from", direct, (team.used_cell, used) if team.used_cell else used, allowed))
    if team.posted:
        checks += _journal_checks(team)
    if team.days:
        days = sum((sum(split, ZERO) for _, split in team.days), team.earlier)
        checks.append(Check("Days tie to Detail", "The Days sheet shows the same money", (f"Days!{team.days_cell}", days), detail, CENT))
    if team.gaps:
        largest = (f"MAX(MAX({team.gap_cells}),-MIN({team.gap_cells}))", max(abs(gap) for gap in team.gaps))
        checks.append(Check("Shares can be computed again", "Largest difference on Shared costs: what our units of all units give, and our part", ZERO, largest, 2 * CENT))
    return checks


def _journal_checks(team: Team) -> list[Check]:
    """Debits equal credits; what is posted as expense is what the statement charges, unless a version posts only what changed."""
    first, _, last = team.journal_rows.partition(":")
    sides = [sum((line[side] for line in team.posted), ZERO) for side in ("debit", "credit")]
    debit, credit = ((f"SUM(Journal!{c}{first}:{c}{last})", value) if first else value for c, value in zip("JK", sides, strict=True))
    checks = [Check("Journal balances", "Debits equal credits", debit, credit)]
    if all(line["kind"] != "correction" for line in team.posted):
        expense = sum((line["debit"] - line["credit"] for line in team.posted if line["role"] == "expense" and line["kind"] not in ("accrual", "reversal")), ZERO)
        checks.append(Check("Journal posts the statement", "Expense that is posted is the total of the statement", team.total, expense))
    return checks


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


def _approvals(team: Team, ws: Any, row: int) -> int:
    """Who prepared, reviewed and approved these figures, and what the team disputes; nothing where neither is known."""
    steps, disputes = figures.approvals(team.con, team.period, team.scope["version"]), figures.disputes(team.con, **team.scope)
    if steps:
        team.book.section(ws, row, 2, 8, "Who stands for these figures")
        for step in steps:
            row += 1
            said = {"prepare": "Prepared", "review": "Reviewed", "approve": "Approved"}.get(step["step"], words.plain(step["step"]))
            team.book.line(ws, row, CHECKS[:2], [said, f"{step['actor']}, of the figures as of {step['through']}"])
        row += 2
    if disputes:
        team.book.section(ws, row, 2, 8, "Disputes")
        for one in disputes:
            row += 1
            said = ". ".join(part for part in (f"{one['amount']:,.2f} {one['currency']}: {one['reason']}", one["resolution"]) if part)
            team.book.line(ws, row, CHECKS[:2], [f"{words.plain(one['state'])}, opened on {one['opened_on']}", f"{one['period']}: {said}"])
        row += 2
    return row


def _invoices(team: Team, ws: Any, row: int) -> int:
    """What the vendors billed and what of it the team carries. Returns the last row."""
    columns = (
        Column("Vendor and account", 30), Column("Invoice", 52, NOTE), Column("Billed to the company", 18, _MONEY), Column("Carried by this team", 18, _MONEY),
        Column("Cost after discounts", 16, _MONEY), Column("Currency", 12, Look(indent=1)), Column("Bill", 13, NOTE),
    )  # fmt: skip
    team.book.section(ws, row, 2, 8, "Vendor invoices behind this statement")
    team.book.header(ws, row + 1, columns)
    row = first = row + 2
    chosen = [one for one in team.invoices if one["ledger_billed"] or one["ledger_effective"]]
    if not chosen:
        team.book.put(ws, row, 2, "No vendor invoice is behind this statement: it carries no cost of its own, only what it bought and sold.", NOTE)
        return row
    for one in chosen:
        values = (one["billed_cost"], one["ledger_billed"], one["ledger_effective"])
        team.book.line(ws, row, columns, [_account(one), one["invoice_id"] or no_invoice(one), *values, one["billing_currency"], one["estimate_status"]])
        row += 1
    if len({one["billing_currency"] for one in chosen}) == 1:
        sums = [sum((one[key] for one in chosen), ZERO) for key in ("ledger_billed", "ledger_effective")]
        totals = [(f"SUM({c}{first}:{c}{row - 1})", value) for c, value in zip("EF", sums, strict=True)]
        team.book.total(ws, row, columns, ["Total", None, None, *totals, None, None])
    notes = (
        "Carried by this team is its part of the invoice, own use and shares together. Accruals and own hardware have no vendor bill: billed is zero there.",
        "Cost that is paid for through the rate card is carried here too, although the statement charges the rate instead.",
    )
    for offset, note in enumerate(notes[: 1 + any(line["covered"] for line in team.lines)], start=2):
        team.book.put(ws, row + offset, 2, note, NOTE)
    return row + 3


def _account(one: Row) -> str:
    return "  ·  ".join(str(part) for part in (words.vendor(one["provider"]), one["billing_account_id"]) if part)


def no_invoice(one: Row) -> str:
    return "no invoice number yet" if one["billed_cost"] else "no vendor bill: accrual or own hardware"


READING = (
    ("Statement", "What the team is charged, in whole cents. These figures are posted; they do not change when other cells do."),
    ("In Detail, Difference", "Live formulas over the Detail sheet. If a cell of Detail is changed, the difference turns red; the posted amount stays."),
    ("Paid for through the rate card", "Cost for whose use a published rate is charged. Its lines show our part for information, with an amount of zero."),
    ("Recovery", "Only with a rate card, on the platform's statement: cost bought, less use sold at the rate. Positive is under-recovered; it is never shared again."),
    ("Rounding", "All lines of a month and legal entity are rounded together, so that they add up to their rounded sum. No line moves by a whole cent."),
    ("DRAFT, FINAL, SUPERSEDED", "A draft is rewritten every night until its month is closed. A final version never changes; a later version replaces it."),
    ("Own usage", "Calls, queries, jobs and training that the team made itself, at the cost of the vendor's bill after discounts, or at the rate card."),
    ("Share of common cost", "Cost that many teams cause together. The sheet Shared costs shows the rule, our units and all units."),
    ("Corrections", "Late or restated bills and usage of a month that is already closed are booked in the open month."),
    ("List cost", "What the same usage would have cost at the vendor's public price, in the currency of the bill."),
    ("Effective cost", "Cost after discounts, commitments and amortization; what is shared and charged."),
    ("Estimated, Accrued usage", "No final bill covers that day yet: the amount is accrued at our prices and replaced when the bill comes."),
    ("Unallocated", "Cost without a known owner stays visible with its reason. It is never spread silently."),
    ("Days", "A day is a UTC day."),
)  # fmt: skip
TEAM_READING = (
    ("Usage", "What the team used itself, by project, model and meter, and how well. Each row is the live sum of its rows in Detail, by the number in Use."),
    ("Volume", "Of a change: more or less of the same, at the prices of the month before."),
    ("Rate", "Of a change: other prices for what was used in this month."),
    ("Mix", "Of a change: other proportions among the meters of one line, such as more output for each input. Volume, rate, mix, new and not counted add up to it."),
    ("New, Not counted", "New: a line that the month before did not have. Not counted: amounts without a quantity, credits and corrections."),
)  # fmt: skip


def notes_sheet(book: Book, title: str, rules: list[Row], weights: list[Row], grain: str | None) -> None:
    ws = book.sheet(title, "How to read this workbook", [30, 88, 30])
    row = 4
    reading = [*READING]
    if grain:  # of a team
        reading += TEAM_READING
        reading.insert(0, ("Detail", f"The ledger behind every line: {grain}. A row without a line number is on no line: less than a cent."))
    row = _explained(book, ws, row, "Words", reading)
    row = _explained(book, ws, row, "Rules behind these figures", [(rule["rule_id"], rule["sentence"] or "") for rule in rules])
    row = _explained(book, ws, row, "What a token weighs on our own model servers", [(one["serving_pool"], one["sentence"]) for one in weights])
    text = "What cannot be measured, priced or assigned is listed with its amount on the Exceptions sheet of the company workbook."
    book.one_page(ws, _explained(book, ws, row, "What is not known", [("Exceptions", text)]))


def _explained(book: Book, ws: Any, row: int, heading: str, pairs: list[tuple[str, str]]) -> int:
    """A section of words and their meanings; returns the row for the next one."""
    if not pairs:
        return row
    book.section(ws, row, 2, 4, heading)
    for word, meaning in pairs:
        row += 1
        book.put(ws, row, 2, word, Look(bold=True, wrap=True))
        words.paragraph(book, ws, row, 3, 4, meaning, 118)
    return row + 2
