"""The workbook of one team: Summary, Statement, Shared costs, Days, Controls, Detail, Notes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.render import controls, figures, summary, words
from pipelines.render.book import (
    CHANGE, COUNT, DAY, EXACT, GROUP, MONEY, NOTE, QUANTITY, SHARE, TEXT, Book, Column, Look, Stamp,
)  # fmt: skip
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import month

SECTIONS = {
    "direct": "Own usage",
    "shared": "Share of common cost",
    "adjustment": "Corrections of closed months",
    "recovery": "Recovery of the rate card",
}
_MONEY = Look(MONEY, align="right")


class Team:
    """Figures of one team, read once, and the sheets made of them."""

    def __init__(self, con: duckdb.DuckDBPyConnection, period: str, version: int, team_id: str) -> None:
        scope = {"period": period, "version": version, "team_id": team_id}
        self.con, self.scope, self.period = con, scope, period
        self.statements = figures.statements(con, **scope)
        self.lines = figures.lines(con, **scope)
        self.detail, self.grain = figures.detail(con, **scope)
        self.shared = figures.shared(con, **scope)
        self.invoices = figures.invoices(con, **scope)
        self.tokens = figures.tokens(con, **scope)
        head = self.statements[0]
        self.currency, self.name = head["currency"], head["team_name"]
        self.total = sum((s["total_amount"] for s in self.statements), ZERO)
        self.prior = sum((s["prior_amount"] for s in self.statements), ZERO)
        self.state = f"DRAFT · as of {head['issued_on']}" if version == 0 else f"{head['state']} · version {version}"
        more = f" and {len(self.statements) - 1} more" if len(self.statements) > 1 else ""
        centers = " + ".join(s["cost_center"] or "no cost center" for s in self.statements[:3])
        subtitle = f"{self.name}  ·  {centers}  ·  {head['legal_entity_name'] or head['legal_entity'] or 'no legal entity'}"
        subtitle += f"  ·  {month(period)}  ·  {head['mode']}, in {self.currency}"
        self.book = Book(Stamp(head["statement_id"] + more, subtitle, self.state, head["issued_on"]))
        self.spots: dict[int, str] = {}  # line_no -> cell of its amount
        self.total_cell = ""

    def workbook(self) -> bytes:
        book = self.book
        for title in ("Statement", "Shared costs", "Days", "Controls", "Detail", "Notes"):
            getattr(self, "_" + title.lower().replace(" ", "_"))(title)
        summary.team_sheet(self, "Summary")
        book.wb.move_sheet("Summary", -6)
        book.wb.active = 0
        book.name("Total_charge", "Statement", self.total_cell)
        book.name("Prior_month", "Statement", self.total_cell.replace("J", "N"))
        book.wb.move_sheet("Notes", -1)
        return book.save(f"{self.name}, {month(self.period)}")

    def _statement(self, title: str) -> None:
        """Posted amounts are constants; beside each stands the live sum of Detail, and what rounding to cents did."""
        money, small = _MONEY, replace(_MONEY, size=9, color=NOTE.color)
        columns = [
            Column("Charge", 17), Column("Service", 22), Column("Model", 25), Column("GL account", 11),
            Column("Quantity", 14, Look(QUANTITY)), Column("Unit", 12, Look(size=9, color=NOTE.color, indent=1)),
            Column("Average rate", 12, Look('#,##0.0000_);(#,##0.0000);"–"_)')), Column("List cost", 13, small),
            Column("Amount", 14, replace(money, bold=True)), Column("In Detail", 15, replace(small, format=EXACT)),
            Column("Rounding", 11, replace(small, format=EXACT)), Column("Difference", 11, replace(small)),
            Column("Month before", 14, money), Column("Change", 13, Look(CHANGE)), Column("Line", 6, Look("0", size=9, color=NOTE.color)),
        ]  # fmt: skip
        ws = self.book.sheet(title, "Statement of charges", [c.width for c in columns])
        self.book.header(ws, 4, columns, height=28)
        ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
        row, first = 5, 5
        for statement in self.statements:
            row = self._one_statement(ws, row, columns, statement)
        self.book.total(ws, row, columns, self._totals("Total for the month", first, row - 1, self.lines, self.prior, columns))
        self.total_cell = f"J{row}"
        self.book.red_unless_zero(ws, f"M{first}:M{row}")
        notes = (
            "Amount is what was posted, in whole cents. In Detail is the live sum of the Detail sheet; Rounding is what made it whole cents. Difference must be zero.",
            "Month before is the statement of the month before in its latest version. A draft is an estimate until its month is closed."
            if self.scope["version"] == 0
            else "Month before is the statement of the month before in its latest version.",
        )
        for offset, text in enumerate(notes, start=2):
            self.book.put(ws, row + offset, 2, text, NOTE)

    def _one_statement(self, ws: Any, row: int, columns: list[Column], statement: Row) -> int:
        mine = [line for line in self.lines if line["cost_center"] == statement["cost_center"] and line["legal_entity"] == statement["legal_entity"]]
        if len(self.statements) > 1:
            named = (statement["statement_id"], statement["cost_center_name"], statement["legal_entity_name"])
            self.book.put(ws, row, 2, "  ·  ".join(w for w in named if w), Look(bold=True, size=11, color="0F7B8A"))
            row += 1
        continued = ZERO
        for category, heading in SECTIONS.items():
            chosen = [line for line in mine if line["category"] == category]
            if not chosen:
                continue
            self.book.line(ws, row, columns, [heading] + [None] * (len(columns) - 1), **{"bold": True, "color": GROUP.color, "fill": GROUP.fill})
            start = row = row + 1
            for line in chosen:
                self._statement_line(ws, row, columns, line)
                row += 1
            before = sum((line["prior_amount"] for line in chosen), ZERO)
            continued += before
            values = self._totals(f"Subtotal: {heading.lower()}", start, row - 1, chosen, before, columns)
            self.book.line(ws, row, columns, values, bold=True, top=("thin", NOTE.color))
            row += 2
        ended = statement["prior_amount"] - continued
        if ended:
            values = ["Ended: lines of the month before that have no successor"] + [None] * (len(columns) - 1)
            values[8], values[12], values[13] = ZERO, ended, (f"J{row}-N{row}", -ended)
            self.book.line(ws, row, columns, values)
            row += 2
        return row

    def _statement_line(self, ws: Any, row: int, columns: list[Column], line: Row) -> None:
        scale, unit = words.unit(line["unit"])
        rounding = (line["amount"] - line["exact"]).quantize(Decimal("0.000000000001"))
        quantity, rate = line["quantity"], line["unit_rate"]
        if quantity:
            quantity, rate = quantity / scale, line["amount"] * scale / quantity
        self.spots[line["line_no"]] = f"J{row}"
        values = [
            words.plain(line["activity"]), line["service"], line["model"], line["gl_account"], quantity, unit if quantity else None,
            rate, line["list_cost"], line["amount"],
            (f"SUMIFS(Detail[Amount],Detail[Line],P{row})", line["exact"]), rounding,
            (f"ROUND(J{row}-K{row}-L{row},2)", ZERO), line["prior_amount"],
            (f"J{row}-N{row}", line["amount"] - line["prior_amount"]), line["line_no"],
        ]  # fmt: skip
        self.book.line(ws, row, columns, values)

    def _totals(self, label: str, first: int, last: int, lines: list[Row], before: Decimal, columns: list[Column]) -> list[Any]:
        amount = sum((line["amount"] for line in lines), ZERO)
        exact = sum((line["exact"] for line in lines), ZERO)
        values: list[Any] = [label] + [None] * (len(columns) - 1)
        known = [line["list_cost"] for line in lines if line["list_cost"] is not None]
        for index, letter, value in (
            (7, "I", sum(known, ZERO)), (8, "J", amount), (9, "K", exact), (10, "L", amount - exact), (11, "M", ZERO), (12, "N", before),
            (13, "O", amount - before),
        ):  # fmt: skip
            values[index] = (f"SUBTOTAL(9,{letter}{first}:{letter}{last})", value)
        return values

    def _shared_costs(self, title: str) -> None:
        """Each pot with its rule, our units and all units, so that the share can be computed again by hand."""
        columns = [
            Column("Pool", 19), Column("What", 22), Column("Shared by", 22, NOTE), Column("From", 11, Look(DAY, size=9, align="left")),
            Column("To", 11, Look(DAY, size=9, align="left")), Column("Cost of the pool", 15, _MONEY), Column("Our units", 16, Look(QUANTITY)),
            Column("All units", 17, Look(QUANTITY)), Column("Our share", 12, Look(SHARE)), Column("Recomputed", 14, replace(_MONEY, color=NOTE.color)),
            Column("Our part", 14, replace(_MONEY, bold=True)), Column("Difference", 11, replace(_MONEY, color=NOTE.color)),
        ]  # fmt: skip
        ws = self.book.sheet(title, "Shared costs and how they were split", [c.width for c in columns])
        ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
        self.book.header(ws, 4, columns, height=28)
        row = first = 5
        pots = words.readable_pots(self.shared)
        for pot in pots:
            units, total, pool, amount = pot["units"], pot["driver_total"], pot["pool_cost"], pot["amount"]
            values = [words.plain(pot["cost_pool"]), pot["service"], words.plain(pot["driver"]) or "named owner", pot["first_day"], pot["last_day"], pool]
            if units is not None and total:
                again = words.half_up(pool * units / total)
                values += [units, total, (f"H{row}/I{row}", units / total), (f"ROUND(G{row}*J{row},2)", again), amount]
                values.append((f"ROUND(L{row}-K{row},2)", words.half_up(amount - again)))
            else:
                values += [None, None, (f"IF(G{row}=0,0,L{row}/G{row})", amount / pool if pool else ZERO), None, amount, None]
            self.book.line(ws, row, columns, values)
            row += 1
        if pots:
            total = sum((pot["amount"] for pot in pots), ZERO)
            values = ["Total, before rounding to cents"] + [None] * 9 + [(f"SUM(L{first}:L{row - 1})", total), None]
            self.book.total(ws, row, columns, values)
        else:
            self.book.put(ws, row, 2, "This team carries no shared cost in this month.", TEXT)
        row += 2
        used = {pot["rule_id"]: pot["sentence"] for pot in self.shared if pot["sentence"]}
        if used:
            self.book.section(ws, row, 2, len(columns) + 1, "The rules in plain words")
            for rule, sentence in sorted(used.items()):
                row += 1
                self.book.put(ws, row, 2, rule, Look(bold=True, valign="top"))
                words.paragraph(self.book, ws, row, 3, len(columns) + 1, sentence, sum(c.width for c in columns[1:]))
            row += 2
        self.book.put(ws, row, 2, "Recomputed is pool times share; it may differ from our part by the cents of many small splits. Amounts are in the currency of the bill.", NOTE)
        reasons = sorted({pot["reason"] for pot in self.shared if pot["reason"]})
        for offset, reason in enumerate(reasons, start=1):
            self.book.put(ws, row + offset, 2, f"Reason given: {reason}", NOTE)

    def _days(self, title: str) -> None:
        columns = [Column("Day", 14, Look(DAY, align="left"))] + [Column(name, 18, _MONEY) for name in ("Own usage", "Shared", "Corrections", "Total")]
        ws = self.book.sheet(title, "Day by day", [c.width for c in columns])
        ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
        self.book.header(ws, 4, columns)
        days = self.by_day()
        for row, (day, split) in enumerate(days, start=5):
            self.book.line(ws, row, columns, [day, *split, (f"SUM(C{row}:E{row})", sum(split, ZERO))])
        last = 4 + len(days)
        if days:
            sums = [sum((split[i] for _, split in days), ZERO) for i in range(3)]
            formulas = [(f"SUM({c}5:{c}{last})", value) for c, value in zip("CDEF", [*sums, sum(sums, ZERO)], strict=True)]
            self.book.total(ws, last + 1, columns, ["Total, before rounding", *formulas])
        note = "Corrections are shown on the day of the usage that they correct; recovery counts as own usage."
        self.book.put(ws, last + 3, 2, note if days else "There are no days: the detail is summed over the month.", NOTE)

    def by_day(self) -> list[tuple[Any, tuple[Decimal, Decimal, Decimal]]]:
        """(day, (own, shared, corrections)) for every day that has rows."""
        days: dict[Any, list[Decimal]] = defaultdict(lambda: [ZERO, ZERO, ZERO])
        for row in self.detail:
            if row["usage_date"] is not None:
                days[row["usage_date"]][{"shared": 1, "adjustment": 2}.get(row["category"], 0)] += row["amount"]
        return [(day, tuple(days[day])) for day in sorted(days)]

    def _controls(self, title: str) -> None:
        controls.team_sheet(self, title)

    def _detail(self, title: str) -> None:
        id_, number = Look(size=9), Look(MONEY, size=9)
        exact = replace(number, format='#,##0.00####_);(#,##0.00####);"–"_)')
        columns = [
            Column("Line", 7, Look("0", size=9)), Column("Day", 11, Look(DAY, size=9, align="left")), Column("Section", 11, id_), Column("Charge", 15, id_),
            Column("Service", 20, id_), Column("Model", 24, id_), Column("Project", 20, id_), Column("Application", 18, id_), Column("Environment", 13, id_),
            Column("Pool", 16, id_), Column("Rule", 20, id_), Column("Quantity", 15, replace(number, format=QUANTITY)), Column("Unit", 12, replace(id_, indent=1)),
            Column("List cost", 13, exact), Column("Effective cost", 14, exact), Column("Bill currency", 9, id_), Column("Amount", 14, exact),
            Column("Usage month", 10, id_), Column("Status", 11, id_), Column("Ledger rows", 9, Look(COUNT, size=9)),
        ]  # fmt: skip
        ws = self.book.wb.create_sheet(title)
        ws.sheet_view.showGridLines, ws.freeze_panes = False, "C2"
        ws.sheet_properties.tabColor = "5B6573"
        self.book.print_setup(ws, title, True)
        keys = (
            "line_no", "usage_date", "category", "activity", "service", "model", "project_id", "application", "environment", "cost_pool",
            "rule_id", "quantity", "consumed_unit", "list_cost", "effective_cost", "billing_currency", "amount", "original_period",
            "estimate_status", "ledger_rows",
        )  # fmt: skip
        self.book.table(ws, 1, "Detail", columns, [tuple(row[key] for key in keys) for row in self.detail])

    def _notes(self, title: str) -> None:
        controls.notes_sheet(self.book, title, figures.sentences(self.con, **self.scope), self.grain)
