"""The figures of one team and its workbook: Summary, Statement, Shared costs, Usage, Trend, Days, Rates, Journal, Controls, Detail, Notes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.allocation.words import driver
from pipelines.render import controls, figures, rates, summary, team_journal, usage, used, words
from pipelines.render.book import (
    CHANGE,
    COUNT,
    DAY,
    EXACT,
    GROUP,
    MONEY,
    NOTE,
    QUANTITY,
    SHARE,
    SHORT_DAY,
    Book,
    Column,
    Look,
    Stamp,
)
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import month
from pipelines.render.rows import of_query

SECTIONS = {
    "direct": "Own usage",
    "shared": "Share of common cost",
    "adjustment": "Corrections of closed months",
    "covered": "Paid for through the rate card: our part of this cost, for information; its users are charged the rate instead",
    "recovery": "Recovery of the rate card: cost of what the platform bought, less what it sold at the rate",
}
_MONEY = Look(MONEY, align="right")
_NAME = Look(wrap=True)
RECOVERY = (
    "The platform buys what the rate card covers at cost and sells its use at the rate. What remains is under-recovery (positive: the rate"
    " brought in less than the cost) or over-recovery (negative). It stays with the platform and is not shared again."
)
COVERED = (
    "Lines paid for through the rate card show what their use or our share of it would cost at list price, and an amount of zero: teams"
    " pay for the use at the published rate, and what the rate does not bring in stays with the platform."
)
Split = tuple[Decimal, Decimal]  # own usage, shared


class Team:
    """Figures of one team, read once, and the sheets made of them."""

    def __init__(self, con: duckdb.DuckDBPyConnection, period: str, version: int, team_id: str, limit: int = figures.DETAIL_LIMIT) -> None:
        scope = {"period": period, "version": version, "team_id": team_id}
        self.con, self.scope, self.period = con, scope, period
        self.statements = figures.statements(con, **scope)
        figures.take(con, **scope)
        self.lines = figures.lines(con, **scope)
        self.detail = figures.detail(con, limit)
        self.shared = figures.shared(con, **scope)
        self.invoices = figures.invoices(con, **scope)
        self.tokens = figures.tokens(con)
        self.months = figures.trend(con, **scope)
        self.posted = figures.posted(con, **scope)
        self.used = used.of_team(con, period, team_id)
        self.moves = figures.changes(con, **scope)
        head = self.statements[0]
        self.currency, self.name = head["currency"], head["team_name"]
        self.total = sum((s["total_amount"] for s in self.statements), ZERO)
        self.prior = sum((s["prior_amount"] for s in self.statements), ZERO)
        self.so_far = figures.so_far(con, period, head["issued_on"])
        self.state = f"DRAFT · as of {head['issued_on']}" if version == 0 else f"{head['state']} · version {version}"
        more = f" and {len(self.statements) - 1} more" if len(self.statements) > 1 else ""
        centers = " + ".join(s["cost_center"] or "no cost center" for s in self.statements[:3])
        entities = " + ".join(dict.fromkeys(s["legal_entity_name"] or s["legal_entity"] or "no legal entity" for s in self.statements[:3]))
        subtitle = f"{self.name}  ·  {centers}  ·  {entities}"
        subtitle += f"  ·  {figures.period_name(con, period)}  ·  {head['mode']}, in {self.currency}"
        self.book = Book(Stamp(head["statement_id"] + more, subtitle, self.state, head["issued_on"]))
        self.days, self.earlier = self._by_day(head["issued_on"])
        self.largest = self._largest()
        for line in self.lines:
            line["discount"] = discount(line)
        self.spots: dict[int, str] = {}  # line_no -> cell of its amount
        self.total_cell = ""
        self.whole_detail: str | None = None
        self.used_cell = ""  # the total on Usage
        self.journal_rows = ""  # first and last row on Journal
        self.days_cell = ""  # the total on Days
        self.pots = words.readable_pots(self.shared)
        self.gaps = [one for pot in self.pots if (one := gap(pot)) is not None]  # what the shares on Shared costs do not explain
        self.gap_cells = ""  # and where it stands

    def workbook(self, whole_detail: str | None = None) -> bytes:
        """`whole_detail`: the file beside it with every row, where Detail had to sum them."""
        book = self.book
        self.whole_detail = whole_detail
        for title in ("Statement", "Shared costs", "Usage", "Trend", "Days", "Rates", "Journal", "Controls", "Detail", "Notes"):
            getattr(self, "_" + title.lower().replace(" ", "_"))(title)
        summary.team_sheet(self, "Summary")
        book.wb.move_sheet("Summary", 1 - len(book.wb.sheetnames))
        if "Journal" in book.wb.sheetnames:
            book.wb.move_sheet("Controls", -1)
        book.wb.active = 0
        book.name("Total_charge", "Statement", self.total_cell)
        book.name("Prior_month", "Statement", self.total_cell.replace("K", "O"))
        book.wb.move_sheet("Notes", -1)
        return book.save(f"{self.name}, {month(self.period)}")

    def _statement(self, title: str) -> None:
        """Posted amounts are constants; beside each stands the live sum of Detail, and what rounding to cents did."""
        money, small = _MONEY, replace(_MONEY, size=9, color=NOTE.color)
        columns = [
            Column("Charge", 18), Column("Service", 24, _NAME), Column("Model", 23, _NAME), Column("GL account", 10),
            Column("Quantity", 13, Look(QUANTITY)), Column("Unit", 13, Look(size=9, color=NOTE.color, indent=1)),
            Column("Average rate", 12, Look('#,##0.0000_);(#,##0.0000);"–"_)')), Column("List cost", 12, small),
            Column("Discount", 12, small), Column("Amount", 13, replace(money, bold=True)), Column("In Detail", 14, replace(small, format=EXACT)),
            Column("Rounding", 11, replace(small, format=EXACT)), Column("Difference", 10, replace(small)),
            Column("Month before", 13, money), Column("Change", 12, Look(CHANGE)), Column("Line", 6, Look("0_)", size=9, color=NOTE.color)),
        ]  # fmt: skip
        ws = self.book.sheet(title, "Statement of charges", [c.width for c in columns])
        self.book.header(ws, 4, columns, height=28)
        ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
        row = first = 5
        for statement in self.statements:
            row = self._one_statement(ws, row, columns, statement)
        self.book.total(ws, row, columns, self._totals("Total for the month", first, row - 1, self.lines, self.prior, columns))
        self.total_cell = f"K{row}"
        self.book.red_unless_zero(ws, f"N{first}:N{row}")
        row += 2
        for text in self._statement_notes():
            words.paragraph(self.book, ws, row, 2, len(columns) + 1, text, sum(c.width for c in columns), NOTE)
            row += 1
        self.book.one_page(ws, row)

    def _statement_notes(self) -> list[str]:
        notes = [
            "Amount is what was posted, in whole cents. In Detail is the live sum of the Detail sheet; Rounding is what made it whole cents. Difference must be zero.",
            "Month before is the statement of the month before in its latest version." + (" A draft is an estimate until its month is closed." if self.scope["version"] == 0 else ""),
        ]
        if any(line["category"] == "recovery" for line in self.lines):
            notes.append(RECOVERY)
        if any(line["covered"] for line in self.lines):
            notes.append(COVERED)
        return notes

    def _one_statement(self, ws: Any, row: int, columns: list[Column], statement: Row) -> int:
        if len(self.statements) > 1:
            named = (statement["statement_id"], statement["cost_center_name"], statement["legal_entity_name"])
            self.book.put(ws, row, 2, "  ·  ".join(w for w in named if w), Look(bold=True, size=11, color="0F7B8A"))
            row += 1
        continued = ZERO
        for heading, chosen in self.sections(statement):
            self.book.line(ws, row, columns, [heading] + [None] * (len(columns) - 1), **{"bold": True, "color": GROUP.color, "fill": GROUP.fill})
            start = row = row + 1
            for line in chosen:
                self._statement_line(ws, row, columns, line)
                row += 1
            before = sum((line["prior_amount"] for line in chosen), ZERO)
            continued += before
            values = self._totals(f"Subtotal: {heading.partition(':')[0].lower()}", start, row - 1, chosen, before, columns)
            self.book.line(ws, row, columns, values, bold=True, top=("thin", NOTE.color))
            row += 2
        ended = statement["prior_amount"] - continued
        if ended:
            values = ["Ended: lines of the month before that have no successor"] + [None] * (len(columns) - 1)
            values[9], values[13], values[14] = ZERO, ended, (f"K{row}-O{row}", -ended)
            self.book.line(ws, row, columns, values)
            row += 2
        return row

    def sections(self, statement: Row) -> list[tuple[str, list[Row]]]:
        """The lines of one statement under their headings; no heading without a line."""
        mine = [line for line in self.lines if line["cost_center"] == statement["cost_center"] and line["legal_entity"] == statement["legal_entity"]]
        found = [(heading, [line for line in mine if ("covered" if line["covered"] else line["category"]) == category]) for category, heading in SECTIONS.items()]
        return [(heading, lines) for heading, lines in found if lines]

    def _statement_line(self, ws: Any, row: int, columns: list[Column], line: Row) -> None:
        quantity, rate = line["quantity"], None
        scale, unit = words.unit(line["unit"], line["amount"] / quantity if quantity else None)
        rounding = (line["amount"] - line["exact"]).quantize(Decimal("0.000000000001"))
        if quantity:
            quantity, rate = quantity / scale, line["amount"] * scale / quantity
        self.spots[line["line_no"]] = f"K{row}"
        values = [
            words.charge(line), line["service"], line["model"], line["gl_account"], quantity, unit if quantity else None,
            rate, line["list_cost"], (f"ROUND(I{row},2)-K{row}", line["discount"]) if line["discount"] is not None else None, line["amount"],
            (f"SUMIFS(Detail[Amount],Detail[Line],Q{row})", line["exact"]), rounding,
            (f"ROUND(K{row}-L{row}-M{row},2)", ZERO), line["prior_amount"],
            (f"K{row}-O{row}", line["amount"] - line["prior_amount"]), line["line_no"],
        ]  # fmt: skip
        self.book.line(ws, row, columns, values)

    def _totals(self, label: str, first: int, last: int, lines: list[Row], before: Decimal, columns: list[Column]) -> list[Any]:
        amount = sum((line["amount"] for line in lines), ZERO)
        exact = sum((line["exact"] for line in lines), ZERO)
        values: list[Any] = [label] + [None] * (len(columns) - 1)
        known = [line["list_cost"] for line in lines if line["list_cost"] is not None]
        saved = sum((line["discount"] or ZERO for line in lines), ZERO)
        for index, letter, value in (
            (7, "I", sum(known, ZERO)), (8, "J", saved), (9, "K", amount), (10, "L", exact), (11, "M", amount - exact), (12, "N", ZERO), (13, "O", before),
            (14, "P", amount - before),
        ):  # fmt: skip
            values[index] = (f"SUBTOTAL(9,{letter}{first}:{letter}{last})", value)
        return values

    def _shared_costs(self, title: str) -> None:
        """Each pot with its rule, our units and all units, so that the share can be computed again by hand."""
        evidence = replace(_MONEY, color=NOTE.color)
        columns = [
            Column("Pool", 19), Column("What", 24, _NAME), Column("Shared by", 27, replace(NOTE, wrap=True)), Column("From", 11, Look(DAY, size=9, align="left")),
            Column("To", 11, Look(DAY, size=9, align="left")), Column("Cost of the pool", 15, _MONEY), Column("Our units", 15, Look(QUANTITY)),
            Column("All units", 15, Look(QUANTITY)), Column("Our share", 12, Look(SHARE)), Column("Recomputed", 14, evidence),
            Column("Our part", 14, replace(_MONEY, bold=True)), Column("Difference", 11, evidence),
        ]  # fmt: skip
        ws = self.book.sheet(title, "Shared costs and how they were split", [c.width for c in columns])
        ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
        self.book.header(ws, 4, columns, height=28)
        row = 5
        if not self.shared:
            self.book.put(ws, row, 2, "This team carries no shared cost in this month.")
            return
        for pot in self.pots:
            self.book.line(ws, row, columns, self._pot(row, pot))
            row += 1
        self.gap_cells = f"'{title}'!M5:M{row - 1}"
        total = sum((pot["amount"] for pot in self.pots), ZERO)
        self.book.total(ws, row, columns, ["Total, before rounding to cents"] + [None] * 9 + [(f"SUM(L5:L{row - 1})", total), None])
        self._rules(ws, row + 2, columns)

    def _pot(self, row: int, pot: Row) -> list[Any]:
        """The cells of one pot; without units there is nothing to compute again."""
        units, total, pool, amount = pot["units"], pot["driver_total"], pot["pool_cost"], pot["amount"]
        what = ": ".join(part for part in (pot["pot"], pot["service"]) if part)
        basis = driver(pot["driver"]) if pot["driver"] else "named owner"
        values = [words.plain(pot["cost_pool"]), what or None, basis, pot["first_day"], pot["last_day"], pool]
        if units is None or not total:
            return [*values, None, None, (f"IF(G{row}=0,0,L{row}/G{row})", amount / pool if pool else ZERO), None, amount, None]
        again = words.half_up(pool * units / total)
        recomputed, difference = (f"ROUND(G{row}*J{row},2)", again), (f"ROUND(L{row}-K{row},2)", gap(pot))
        return [*values, units, total, (f"H{row}/I{row}", units / total), recomputed, amount, difference]

    def _rules(self, ws: Any, row: int, columns: list[Column]) -> None:
        last, width = len(columns) + 1, sum(c.width for c in columns[1:])
        self.book.section(ws, row, 2, last, "The rules in plain words")
        for rule, sentence in sorted({(pot["rule_id"], pot["sentence"]) for pot in self.shared if pot["sentence"]}):
            row += 1
            self.book.put(ws, row, 2, rule, Look(bold=True, wrap=True))
            words.paragraph(self.book, ws, row, 3, last, sentence, width)
        notes = [
            "Cost of the pool is all that the rule split, also what it sent to a team that passes its cost on. Recomputed is pool times share."
            " Amounts are in the currency of the bill.",
            *(f"Why: {reason}." for reason in sorted({pot["reason"] for pot in self.shared if pot["reason"]})),
        ]
        for offset, text in enumerate(notes, start=2):
            self.book.put(ws, row + offset, 2, text, NOTE)

    def _days(self, title: str) -> None:
        small = Look(size=9, color=NOTE.color, indent=1)
        columns = [
            Column("Day", 16, Look(SHORT_DAY, align="left")), *[Column(name, 15, _MONEY) for name in (self.own_words, "Shared", "Total", "Month so far")],
            Column("Largest charge of the day", 42, replace(small, wrap=True)), Column("Its amount", 14, replace(_MONEY, size=9, color=NOTE.color)),
        ]  # fmt: skip
        ws = self.book.sheet(title, "Day by day", [c.width for c in columns])
        self.book.one_page(ws, len(self.days))
        ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
        self.book.header(ws, 4, columns)
        row, so_far, largest = 4, ZERO, self.largest
        for row, (day, split) in enumerate(self.days, start=5):
            total = sum(split, ZERO)
            so_far += total
            before = f"F{row - 1}+" if row > 5 else ""
            self.book.line(ws, row, columns, [day, *split, (f"SUM(C{row}:D{row})", total), (f"{before}E{row}", so_far), *largest.get(day, (None, None))])
        own, shared = (sum((split[i] for _, split in self.days), ZERO) for i in (0, 1))
        sums = [(f"SUM({c}5:{c}{row})", value) for c, value in zip("CDE", (own, shared, own + shared), strict=True)]
        if self.earlier:
            row += 1
            self.book.line(ws, row, columns, ["Earlier months", None, None, self.earlier, (f"F{row - 1}+E{row}", so_far + self.earlier), "late and restated cost of closed months", None])
            sums[2] = (f"SUM(E5:E{row})", own + shared + self.earlier)
        self.days_cell = f"E{row + 1}"
        self.book.total(ws, row + 1, columns, ["Exact total", *sums, None, None, None])
        self.book.put(ws, row + 3, 2, "A day is a UTC day. Amounts are exact, before the rounding to whole cents.", NOTE)

    @property
    def own_words(self) -> str:
        return "Recovery" if all(line["category"] == "recovery" for line in self.lines) else "Own usage"

    def _by_day(self, through: date) -> tuple[list[tuple[date, Split]], Decimal]:
        """Every day of the month, of a draft only so far, with its cost; and what was booked for earlier months."""
        found, earlier = figures.by_day(self.con, self.period)
        days = sorted({*found, *figures.days(self.con, self.period, through if self.scope["version"] == 0 else None)})
        return [(day, found.get(day, (ZERO, ZERO))) for day in days], earlier

    def _largest(self) -> dict[date, tuple[str, Decimal]]:
        """Per day of the month, what cost most: activity and model or service, and its amount."""
        return {
            one["usage_date"]: (" – ".join(part for part in (words.plain(one["activity"]), one["what"]) if part), one["amount"])
            for one in figures.largest_of_days(self.con, self.period)
        }

    def _usage(self, title: str) -> None:
        usage.sheet(self, title)

    def _trend(self, title: str) -> None:
        usage.trend_sheet(self, title)

    def _rates(self, title: str) -> None:
        rates.sheet(self.book, title, self.con, self.period, self.scope["version"], self.scope["team_id"])

    def _journal(self, title: str) -> None:
        team_journal.sheet(self, title)

    def _controls(self, title: str) -> None:
        controls.team_sheet(self, title)

    def _detail(self, title: str) -> None:
        id_, number = Look(size=9), Look(MONEY, size=9)
        exact = replace(number, format=EXACT)
        columns = [
            Column("Line", 7, Look("0", size=9)), Column("Use", 7, Look("0", size=9)), Column("Day", 11, Look(DAY, size=9, align="left", indent=1)), Column("Section", 17, id_, section), Column("Charge", 17, id_, words.plain),
            Column("Service", 20, id_), Column("Model", 24, id_), Column("Meter", 22, id_, words.meter), Column("Project", 20, id_), Column("Application", 18, id_), Column("Environment", 13, id_),
            Column("Pool", 21, id_, words.plain), Column("Rule", 20, id_), Column("Quantity", 15, replace(number, format='#,##0.0###_);(#,##0.0###);"–"_)')), Column("Unit", 12, replace(id_, indent=1)),
            Column("List cost", 13, exact), Column("Effective cost", 14, exact), Column("Bill currency", 9, replace(id_, indent=1)), Column("Amount", 14, exact),
            Column("Usage month", 10, replace(id_, indent=1)), Column("Status", 11, id_), Column("Ledger rows", 9, Look(COUNT, size=9)),
        ]  # fmt: skip
        ws = self.book.wb.create_sheet(title)
        ws.sheet_view.showGridLines, ws.freeze_panes = False, "C2"
        ws.sheet_properties.tabColor = "5B6573"
        self.book.print_setup(ws, title, True)
        fields = (
            "line_no, use_no, usage_date, category, activity, service, model, meter, project_id, application, environment, cost_pool, rule_id, quantity,"
            " unit, list_cost, effective_cost, billing_currency, amount, original_period, estimate_status, ledger_rows"
        )
        first = 1
        if not self.detail.is_whole:
            self.book.put(ws, 1, 1, f"Here is {self.detail.grain}." + (f" Every row is in {self.whole_detail}, beside this file." if self.whole_detail else ""), Look(bold=True))
            first, ws.freeze_panes = 3, "C4"
        self.book.table(ws, first, "Detail", columns, self.detail.count, of_query(self.con, f"select {fields} from detail"))

    def _notes(self, title: str) -> None:
        controls.notes_sheet(self.book, title, figures.sentences(self.con, **self.scope), figures.weights(self.con, **self.scope), self.detail.grain)


def section(category: str) -> str:
    """The heading of the statement under which a row of Detail stands."""
    return SECTIONS.get(category, category).partition(":")[0]


def discount(line: Row) -> Decimal | None:
    """List cost less amount; None where there is no list price, or the rate card or a correction makes them incomparable."""
    if not line["list_cost"] or line["covered"] or line["sold"] or line["category"] not in ("direct", "shared") or line["fx_rate"] != 1:
        return None
    return words.half_up(line["list_cost"]) - line["amount"]


def gap(pot: Row) -> Decimal | None:
    """What the shown shares of a pot do not explain, in cents; None where there are no units to compute with."""
    if pot["units"] is None or not pot["driver_total"]:
        return None
    return words.half_up(pot["amount"] - words.half_up(pot["pool_cost"] * pot["units"] / pot["driver_total"]))
