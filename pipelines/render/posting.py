"""The sheets of the company workbook that say what is posted: the journal, adjustments of earlier months, disputes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipelines.render import figures, words
from pipelines.render.book import DAY, MONEY, NOTE, Column, Look
from pipelines.render.figures import ZERO
from pipelines.render.names import month
from pipelines.render.rows import of_tuples

if TYPE_CHECKING:
    from pipelines.render.company import Company

_MONEY = Look(MONEY, align="right")
_BOLD = replace(_MONEY, bold=True)
_EVIDENCE = replace(_MONEY, color=NOTE.color)
_NAME = Look(wrap=True)
_MOST_ADJUSTMENTS = 40  # of a month; the others in one row
_KINDS = {"chargeback": "Chargeback", "correction": "Correction", "intercompany": "Intercompany", "accrual": "Accrual", "reversal": "Reversal"}
_REASONS = {
    "wrong_team": "Wrong team", "wrong_rate": "Wrong rate", "duplicate": "Charged twice", "not_ours": "Not ours",
    "allocation_basis": "Basis of a share", "other": "Other",
}  # fmt: skip


def journal_sheet(company: Company, title: str) -> None:
    """Debits and credits by legal entity and account, tied to the lines; what accrues; and what is only shown."""
    book, lines = company.book, company.journal
    columns = [
        Column("Legal entity", 20, _NAME), Column("Kind", 15), Column("GL account", 15), Column("Cost center", 15), Column("Debit", 17, _BOLD),
        Column("Credit", 17, _BOLD), Column("Debit in Journal lines", 17, _EVIDENCE), Column("Credit in Journal lines", 17, _EVIDENCE), Column("Difference", 13, _EVIDENCE),
    ]  # fmt: skip
    heading = f"Journal of version {company.version}" if company.version else "Journal, as it would be posted"
    ws = book.sheet(title, heading, [c.width for c in columns])
    ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
    book.header(ws, 4, columns)
    sums: dict[tuple[str, ...], list[Decimal]] = defaultdict(lambda: [ZERO, ZERO])
    for line in lines:
        key = (line["legal_entity"], _KINDS[line["kind"]], line["gl_account"] or "none", line["cost_center"] or "none")
        sums[key][0] += line["debit"]
        sums[key][1] += line["credit"]
    row = first = 5
    for entity in sorted({key[0] for key in sums}):
        start, chosen = row, {key: amounts for key, amounts in sorted(sums.items()) if key[0] == entity}
        for key, (debit, credit) in chosen.items():
            names = ("Legal entity", "Kind", "GL account", "Cost center")
            conditions = ",".join(f"Journal_lines[{name}],{c}{row}" for name, c in zip(names, "BCDE", strict=True))
            tied = [(f"ROUND(SUMIFS(Journal_lines[{side}],{conditions}),2)", amount) for side, amount in (("Debit", debit), ("Credit", credit))]
            book.line(ws, row, columns, [*key, debit, credit, *tied, (f"ROUND(F{row}-H{row}+I{row}-G{row},2)", ZERO)])
            row += 1
        totals = [sum((amounts[side] for amounts in chosen.values()), ZERO) for side in (0, 1)]
        book.line(ws, row, columns, [f"{entity}, in balance" if totals[0] == totals[1] else f"{entity}: CHECK", None, None, None, *_subtotals("FGHI", start, row - 1, totals * 2), (f"ROUND(F{row}-G{row},2)", totals[0] - totals[1])], bold=True, wrap=False, top=("thin", NOTE.color))  # fmt: skip
        row += 2
    company.debit, company.credit = (sum((line[side] for line in lines), ZERO) for side in ("debit", "credit"))
    if not lines:
        book.put(ws, row, 2, "Nothing is posted: no team is on chargeback, or nothing changed since the version before.", NOTE)
        row += 2
    book.total(ws, row, columns, ["All entries", None, None, None, *_subtotals("FGHI", first, row - 1, [company.debit, company.credit] * 2), (f"ROUND(F{row}-G{row},2)", company.debit - company.credit)])
    book.red_unless_zero(ws, f"J{first}:J{row}")
    company.debit_cell, company.credit_cell = f"F{row}", f"G{row}"
    row = _stated(company, ws, row + 2)
    text = (
        "Debits are the expense of the cost centers that used; the recovery relieves the platform's cost center in the books of the company that bought."
        " A later version posts only what changed."
    )
    book.put(ws, row, 2, text, NOTE)
    book.one_page(ws, row)


def _subtotals(letters: str, first: int, last: int, values: list[Decimal]) -> list[tuple[str, Decimal]]:
    return [(f"SUBTOTAL(9,{c}{first}:{c}{last})", value) for c, value in zip(letters, values, strict=True)]


def _stated(company: Company, ws: Any, row: int) -> int:
    """What of the statements is posted, and what is not."""
    book = company.book
    columns = [Column("Statements", 20), Column("", 15), Column("", 15), Column("Of them", 15, Look(align="right")), Column("Amount", 17, _MONEY)]
    by_mode: dict[str, list[Decimal]] = defaultdict(list)
    for one in company.statements:
        by_mode["unallocated" if one["team_id"] == "unallocated" else one["mode"]].append(one["total_amount"])
    company.posted = sum(by_mode["chargeback"], ZERO)
    company.expensed = figures.expensed(company.con, company.period, company.version)
    book.section(ws, row, 2, 10, "From the statements to the journal")
    book.header(ws, row + 1, columns)
    first = row = row + 2
    for label, mode in (("Posted: teams on chargeback", "chargeback"), ("Only shown: teams on showback", "showback"), ("Only shown: unallocated", "unallocated")):
        book.line(ws, row, columns, [label, None, None, len(by_mode[mode]), sum(by_mode[mode], ZERO)])
        row += 1
    book.total(ws, row, columns, ["All statements", None, None, len(company.statements), (f"SUM(F{first}:F{row - 1})", company.total)])
    company.stated_cell = f"F{row}"
    before = company.expensed - sum((j["debit"] - j["credit"] for j in company.journal if j["role"] == "expense" and j["kind"] not in ("accrual", "reversal")), ZERO)
    if before:
        row += 1
        book.line(ws, row, columns, ["Posted with earlier versions", None, None, None, before], color=NOTE.color)
    return row + 2


def lines_sheet(company: Company, title: str) -> None:
    """Every journal line in an Excel table."""
    small = Look(size=9)
    columns = [
        Column("Entry", 17, small), Column("Line", 6, Look("0_)", size=9)), Column("Posting date", 11, Look(DAY, size=9, align="left")), Column("Legal entity", 11, small),
        Column("Partner", 11, small), Column("Kind", 12, small), Column("GL account", 12, small), Column("Cost center", 12, small), Column("Debit", 13, Look(MONEY, size=9)),
        Column("Credit", 13, Look(MONEY, size=9)), Column("Currency", 9, replace(small, indent=1)), Column("Memo", 40, small), Column("Statement", 34, small),
        Column("Reversal", 11, Look(DAY, size=9, align="left")),
    ]  # fmt: skip
    ws = company.book.wb.create_sheet(title)
    ws.sheet_view.showGridLines, ws.freeze_panes = False, "C2"
    company.book.print_setup(ws, title, True)
    rows = [
        (
            j["je_id"], j["line_no"], j["posting_date"], j["legal_entity"], j["partner_entity"], _KINDS[j["kind"]], j["gl_account"] or "none",
            j["cost_center"] or "none", j["debit"], j["credit"], j["currency"], j["line_memo"], j["reference"], j["reversal_date"],
        )
        for j in company.journal
    ]  # fmt: skip
    company.book.table(ws, 1, "Journal_lines", columns, len(rows), of_tuples(rows))


def adjustments_sheet(company: Company, title: str) -> None:
    """Corrections by the month they belong to."""
    columns = [
        Column("Team", 26, _NAME), Column("Cost center", 15), Column("Vendor", 16), Column("Service", 26, _NAME), Column("Activity", 22, _NAME), Column("Charges", 11, Look("#,##0_)")),
        Column("Cost", 18, _MONEY), Column("Charged", 18, _BOLD), Column("Currency", 12, Look(indent=1)),
    ]  # fmt: skip
    book, found = company.book, company.adjustments
    ws = book.sheet(title, "Corrections of earlier months", [c.width for c in columns])
    ws.freeze_panes, ws.print_title_rows = "B4", "1:3"
    row = 4
    for period in sorted({one["original_period"] for one in found}):
        all_of_it = [one for one in found if one["original_period"] == period]
        chosen, rest = all_of_it[:_MOST_ADJUSTMENTS], all_of_it[_MOST_ADJUSTMENTS:]
        for currency in sorted({one["billing_currency"] for one in rest}):
            small = [one for one in rest if one["billing_currency"] == currency]
            sums = {key: sum((one[key] for one in small), ZERO) for key in ("effective_cost", "amount")}
            blank = dict.fromkeys(("cost_center", "provider", "service", "activity", "charges"), "")
            chosen = [*chosen, {"team_name": f"{len(small)} smaller ones", **blank, **sums, "billing_currency": currency}]
        book.section(ws, row, 2, 10, f"Belongs to {month(period)}")
        book.header(ws, row + 1, columns)
        row = first = row + 2
        for one in chosen:
            book.line(ws, row, columns, [
                one["team_name"] or one["team_id"], "none" if one["cost_center"] is None else one["cost_center"], words.vendor(one["provider"]), one["service"], words.plain(one["activity"]), one["charges"],
                one["effective_cost"], one["amount"], one["billing_currency"],
            ])  # fmt: skip
            row += 1
        if len({one["billing_currency"] for one in chosen}) == 1:
            sums = [sum((one[key] for one in chosen), ZERO) for key in ("effective_cost", "amount")]
            totals = [(f"SUM({c}{first}:{c}{row - 1})", value) for c, value in zip("HI", sums, strict=True)]
            book.total(ws, row, columns, [month(period), None, None, None, None, None, *totals, chosen[0]["billing_currency"]])
            row += 1
        row += 1
    if not found:
        book.put(ws, row, 2, "No earlier month is corrected in this one.")
        row += 2
    book.put(ws, row, 2, "Late and restated bills, changed shares and accepted disputes of months that are closed. A re-share costs nothing: it adds up to zero.", NOTE)
    book.one_page(ws, row)


def disputes_sheet(company: Company, title: str) -> None:
    """Every dispute of the month, and how it ended."""
    columns = [
        Column("Dispute", 20, Look(size=9)), Column("Statement", 32, replace(NOTE, wrap=True)), Column("Team", 15), Column("Reason", 16, _NAME), Column("Amount", 15, _MONEY),
        Column("Currency", 10, Look(indent=1)), Column("Opened", 12, Look(DAY, align="left")), Column("by", 17, _NAME), Column("State", 12, Look(bold=True)),
        Column("Resolved", 12, Look(DAY, align="left")), Column("by", 17, _NAME), Column("Resolution", 36, replace(NOTE, wrap=True)), Column("Booked in", 12),
    ]  # fmt: skip
    ws = company.book.sheet(title, "Disputes", [c.width for c in columns])
    ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
    company.book.header(ws, 4, columns)
    row = 4
    for one in company.disputes:
        row += 1
        company.book.line(ws, row, columns, [
            one["dispute_id"], one["statement_id"], one["team_id"], _REASONS.get(one["reason_code"], one["reason_code"]), one["amount"], one["currency"],
            one["opened_on"], one["opened_by"], (one["state"] or "").capitalize(), one["resolved_on"], one["resolved_by"], one["resolution"], one["adjustment_period"],
        ])  # fmt: skip
    text = "An accepted dispute is a charge of zero: less for the team that disputed, more for the one that carries it instead."
    company.book.put(ws, row + 2, 2, text, NOTE)
    company.book.one_page(ws, row)
