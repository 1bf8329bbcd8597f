"""The workbook of the whole company: what finance posts, and the way from the invoices to it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.render import bridge, controls, figures, gpus, posting, rates, words
from pipelines.render.book import CHANGE, COUNT, MONEY, NOTE, QUANTITY, Book, Column, Look, Stamp, with_symbol
from pipelines.render.figures import CENT, ZERO
from pipelines.render.names import clip, month
from pipelines.render.rows import of_tuples
from pipelines.render.summary import controls_line, stacked_chart, sums_by, top_table

_MONEY = Look(MONEY, align="right")
_EVIDENCE = replace(_MONEY, color=NOTE.color)
_NAME = Look(wrap=True)
_KINDS = {"direct_amount": "Own usage", "shared_amount": "Shared", "adjustment_amount": "Corrections", "recovery_amount": "Recovery"}
_MOST_TEAMS = 20
_MOST_DIFFERENCES = 30
_ALARMS = ("unit_suspect", "drift", "invoice_differs", "invoice_missing", "bill_missing")
_TEAM_ROW = 29  # of the first team on the Summary


class Company:
    """Figures of one month and version, read once, and the sheets made of them."""

    def __init__(self, con: duckdb.DuckDBPyConnection, period: str, version: int) -> None:
        self.con, self.period, self.version = con, period, version
        scope = {"period": period, "version": version}
        self.statements = figures.statements(con, **scope)
        self.lines = figures.lines(con, **scope)
        self.invoices = figures.invoices(con, **scope)
        self.sides = figures.by_currency(con, period, version)
        self.reconciled = figures.reconciled(con, period)
        self.bridge = bridge.rows(con, period, version)
        self.journal = figures.journal(con, **scope)
        self.adjustments = figures.adjustments(con, **scope)
        self.disputes = figures.disputes(con, period=period)
        self.unallocated = figures.unallocated(con, **scope)
        self.exceptions = figures.exceptions(con, period)
        self.rules = figures.sentences(con, **scope)
        self.weights = figures.weights(con, **scope)
        self.line_sums: dict[tuple[Any, ...], Decimal] = defaultdict(lambda: ZERO)
        for line in self.lines:
            self.line_sums[self._key(line)] += line["amount"]
        head = self.statements[0] if self.statements else {}
        self.currency = head.get("currency", "USD")
        self.total = sum((s["total_amount"] for s in self.statements), ZERO)
        self.prior = sum((s["prior_amount"] for s in self.statements), ZERO)
        as_of = head.get("issued_on")
        state = f"DRAFT · as of {as_of}" if version == 0 else f"{head.get('state', '')} · version {version}"
        label = f"v{version}" if version else "draft"
        self.book = Book(Stamp(f"APN-{period}-company-{label}", f"All teams  ·  {figures.period_name(con, period)}  ·  statements in {self.currency}", state, as_of))
        self.total_row = 0

    def workbook(self) -> bytes:
        for title in ("Summary", "Statements", "Bridge", "Reconciliation", "Exceptions", "Adjustments", "Disputes", "GPUs", "Rates", "Journal", "Controls", "Lines", "Journal lines", "Notes"):
            getattr(self, "_" + title.lower().replace(" ", "_"))(title)
        self.book.name("Total_charge", "Statements", f"J{self.total_row}")
        self.book.name("Prior_month", "Statements", f"K{self.total_row}")
        self.book.wb.move_sheet("Notes", -2)
        return self.book.save(f"All teams, {month(self.period)}")

    def _summary(self, title: str) -> None:
        book = self.book
        ws = book.sheet(title, "AI cost of the company", [11.3] * 12, tall=False)
        money = Look(with_symbol(self.currency))
        unowned = sum((s["total_amount"] for s in self.statements if s["team_id"] == "unallocated"), ZERO)
        book.tile(ws, 4, 2, "Total of all statements", ("Total_charge", self.total), money, words.change(self.total, self.prior, figures.so_far(self.con, self.period, self.book.stamp.as_of)))
        posted = sum((s["total_amount"] for s in self.statements if s["mode"] == "chargeback"), ZERO)
        book.tile(ws, 4, 5, "To be posted", posted, money, "teams on chargeback; the rest is shown only")
        share = f"{unowned * 100 / self.total:,.2f}% of the total" if self.total > 0 else "no total to compare with"
        book.tile(ws, 4, 8, "Unallocated", unowned, money, share)
        book.tile(ws, 4, 11, "To look at", Decimal(len(self.exceptions)), Look("0"), "entries on the Exceptions sheet")
        book.section(ws, 10, 2, 9, "By team")
        self._teams(ws)
        book.section(ws, 10, 11, 13, "By legal entity")
        top_table(book, ws, 10, [(f"{name}, {mode}", amount) for (name, mode), amount in sorted(self._entities().items())], 6)
        book.section(ws, 18, 11, 13, "Billed against metered")
        billed = [{**one, "amount": one["billed_cost"] or one["metered_cost"] or ZERO} for one in self.reconciled]
        top_table(book, ws, 18, sums_by(billed, lambda one: words.state(one["state"])), 7)

    def _teams(self, ws: Any) -> None:
        """The chart and, below it, its figures: the largest teams, then all others in one row, so that it stays one page."""
        columns = [Column("Team", 11), *[Column("", 11)] * 2, Column("Cost center", 11)] + [
            Column(name, 11, _MONEY) for name in (*_KINDS.values(), "Total", "Month before")
        ] + [Column("Change", 11, Look(CHANGE)), Column("Of total", 11, Look("0.0%_)"))]  # fmt: skip
        teams = self._by_team()
        first, row = _TEAM_ROW, _TEAM_ROW - 1
        self.book.header(ws, row, columns)
        for name, center, sums in teams:
            row += 1
            total, prior = sums[-2:]
            change, part = (f"J{row}-K{row}", total - prior), (f"IF(Total_charge=0,0,J{row}/Total_charge)", total / self.total if self.total else ZERO)
            self.book.line(ws, row, columns, [clip(name, 36), None, None, clip(center, 12), *sums, change, part])
        sums = [sum((team[2][i] for team in teams), ZERO) for i in range(6)]
        totals = [(f"SUM({c}{first}:{c}{row})", value) for c, value in zip("FGHIJK", sums, strict=True)]
        row += 1
        self.book.total(ws, row, columns, ["All teams", None, None, None, *totals, (f"J{row}-K{row}", self.total - self.prior), None])
        if teams:
            labels, values = [clip(name, 24) for name, _, _ in teams], [sums[:4] for _, _, sums in teams]
            stacked_chart(self.book, ws, "B11", ws.title, labels, values, tuple(_KINDS.values()), (17.6, 8.0), 2, 6, first)
        ws.print_area = f"A1:M{row}"

    def _by_team(self) -> list[tuple[str, str, list[Decimal]]]:
        """(team, cost center, [the four kinds, total, month before]), the largest first."""
        teams: dict[str, tuple[str, set[str], list[Decimal]]] = {}
        for s in self.statements:
            _, centers, sums = teams.setdefault(s["team_id"], (s["team_name"], set(), [ZERO] * 6))
            centers.add(s["cost_center"] or "none")
            for at, key in enumerate((*_KINDS, "total_amount", "prior_amount")):
                sums[at] += s[key]
        found = [(name, ", ".join(sorted(centers)) if len(centers) == 1 else f"{len(centers)} centers", sums) for name, centers, sums in teams.values()]
        found.sort(key=lambda team: (-team[2][4], team[0]))
        shown, rest = found[:_MOST_TEAMS], found[_MOST_TEAMS:]
        if rest:
            shown.append((f"{len(rest)} other teams", "", [sum((team[2][i] for team in rest), ZERO) for i in range(6)]))
        return shown

    def _entities(self) -> dict[tuple[str, str], Decimal]:
        sums: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        for s in self.statements:
            sums[s["legal_entity_name"] or s["legal_entity"] or "no legal entity", s["mode"]] += s["total_amount"]
        return sums

    def _statements(self, title: str) -> None:
        columns = [
            Column("Statement", 30, Look(size=9)), Column("Team", 21, _NAME), Column("Cost center", 20, _NAME), Column("Legal entity", 11),
            *[Column(name, 12, _MONEY) for name in _KINDS.values()],
            Column("Total", 13, replace(_MONEY, bold=True)), Column("Month before", 13, _MONEY), Column("Change", 12, Look(CHANGE)),
            Column("Lines", 13, _EVIDENCE), Column("Difference", 11, _EVIDENCE), Column("Mode", 11, Look(indent=1)),
        ]  # fmt: skip
        ws = self.book.sheet(title, "All statements", [c.width for c in columns])
        ws.freeze_panes, ws.print_title_rows = "C5", "1:4"
        self.book.header(ws, 4, columns)
        row = 4
        for s in self.statements:
            row += 1
            center = "  ".join(p for p in (s["cost_center"], s["cost_center_name"]) if p) or "no cost center"
            total = s["total_amount"]
            self.book.line(ws, row, columns, [
                s["statement_id"], s["team_name"], center, s["legal_entity"] or "none", *(s[k] for k in _KINDS), total, s["prior_amount"],
                (f"J{row}-K{row}", total - s["prior_amount"]), (f"ROUND(SUMIFS(Lines[Amount],Lines[Statement],B{row}),2)", self._lines_of(s)),
                (f"ROUND(J{row}-M{row},2)", total - self._lines_of(s)), s["mode"],
            ])  # fmt: skip
        row += 1
        sums = [sum((s[k] for s in self.statements), ZERO) for k in (*_KINDS, "total_amount", "prior_amount")]
        sums += [self.total - self.prior, sum((line["amount"] for line in self.lines), ZERO)]
        sums.append(self.total - sums[-1])
        totals = [(f"SUM({c}5:{c}{row - 1})", value) for c, value in zip("FGHIJKLMN", sums, strict=True)]
        self.book.total(ws, row, columns, ["All statements", None, None, None, *totals, None])
        self.book.red_unless_zero(ws, f"N5:N{row}")
        self.total_row = row
        self.book.one_page(ws, row)

    def _lines_of(self, statement: figures.Row) -> Decimal:
        return self.line_sums[self._key(statement)]

    @staticmethod
    def _key(row: figures.Row) -> tuple[Any, ...]:
        """What tells the statements of a month apart."""
        return tuple(row[k] for k in ("team_id", "cost_center", "legal_entity", "mode", "currency"))

    def _reconciliation(self, title: str) -> None:
        columns = [
            Column("Vendor", 14), Column("Account", 22, _NAME), Column("Invoice", 34, replace(NOTE, wrap=True)), Column("Currency", 20), Column("Bill", 11, NOTE),
            Column("Billed", 16, _MONEY), Column("In the ledger", 16, _MONEY), Column("Difference", 12, _MONEY),
            Column("Effective cost", 16, _MONEY), Column("In the ledger", 16, _MONEY), Column("Difference", 12, _MONEY),
        ]  # fmt: skip
        ws = self.book.sheet(title, "Bills, documents and what gateways saw", [c.width for c in columns])
        ws.freeze_panes, ws.print_title_rows = "B4", "1:3"
        self.book.section(ws, 4, 2, 12, "Every invoice, and what the ledger carries of it")
        self.book.header(ws, 5, columns)
        row = first = 6
        for one in self.invoices:
            named = one["invoice_id"] or controls.no_invoice(one)
            gap = [(one["ledger_billed"] - one["billed_cost"]), (one["ledger_effective"] - one["effective_cost"])]
            self.book.line(ws, row, columns, [
                words.vendor(one["provider"]), one["billing_account_id"], named, one["billing_currency"], one["estimate_status"], one["billed_cost"], one["ledger_billed"],
                (f"ROUND(H{row}-G{row},2)", words.half_up(gap[0])), one["effective_cost"], one["ledger_effective"], (f"ROUND(K{row}-J{row},2)", words.half_up(gap[1])),
            ])  # fmt: skip
            row += 1
        if self.invoices:
            self.book.red_unless_zero(ws, f"I{first}:I{row - 1}")
            self.book.red_unless_zero(ws, f"L{first}:L{row - 1}")
        row = self._documents(ws, row + 1)
        row = self._coverage(ws, row)
        row = self._shared_keys(ws, row)
        row = self._variances(ws, row)
        row = self._differences(ws, row)
        self._alarms(ws, row)

    def _bridge(self, title: str) -> None:
        self.bridged = bridge.Bridge(self, title)
        self.bridged.write()

    def currency_of(self, line: figures.Row) -> str:
        """The currency of the bills behind a line."""
        if not hasattr(self, "_currencies"):
            found = self.con.execute(
                "select line_id, any_value(billing_currency) from ledger where period = ? and version = ? group by all", [self.period, self.version]
            ).fetchall()
            self._currencies = dict(found)
        return self._currencies.get(line["line_id"], self.currency)

    def _documents(self, ws: Any, row: int) -> int:
        """Invoice documents against the sums of their bills' lines."""
        columns = [
            Column("Vendor", 14), Column("Account", 22, _NAME), Column("Invoice", 34, replace(NOTE, wrap=True)), Column("State", 20, _NAME), Column("Month", 11, NOTE),
            Column("Document", 16, _MONEY), Column("Lines of the bill", 16, _MONEY), Column("Tax beside", 12, _EVIDENCE), Column("Difference", 16, _MONEY),
            Column("Lines not ours", 16, _EVIDENCE), Column("Currency", 12, Look(indent=1)),
        ]  # fmt: skip
        found = figures.documents(self.con, self.period)
        self.book.section(ws, row, 2, 12, "Invoice documents against the bills")
        row += 1
        if not found:
            self.book.put(ws, row, 2, "No bill and no document in this month.", NOTE)
            return row + 2
        self.book.header(ws, row, columns)
        for one in found:
            row += 1
            known = "n/a" if one["difference"] is None else words.half_up(one["difference"])
            self.book.line(ws, row, columns, [
                words.vendor(one["provider"]), one["billing_account_id"], one["invoice_id"] or "no number", words.state(one["state"]), one["period"],
                one["invoice_amount"], one["lines_cost"], one["tax_beside"], (f'IF(COUNT(G{row}:H{row})=2,ROUND(G{row}-H{row}-N(I{row}),2),"n/a")', known),
                one["out_of_scope_cost"], one["billing_currency"],
            ])  # fmt: skip
        self.book.put(ws, row + 1, 2, "A document is the vendor's whole invoice, with lines of others on a shared bill. Tax beside: on the document, and not among the lines.", NOTE)
        return row + 3

    def _coverage(self, ws: Any, row: int) -> int:
        """How much of each bill the gateways had seen, in dollars."""
        columns = [
            Column("Vendor", 14), Column("Account", 22, _NAME), Column("Accrued, not billed yet", 34, _EVIDENCE), Column("Currency", 20, Look(indent=2)), Column("Seen", 11, Look("0.00%_)", align="right")),
            Column("Billed", 16, _MONEY), Column("Seen by gateways", 16, _MONEY), Column("Beyond bound", 12, _MONEY), Column("Not seen", 16, _MONEY),
            Column("No calls of models", 16, _MONEY), Column("Difference", 12, _EVIDENCE),
        ]  # fmt: skip
        found = figures.coverage(self.con, self.period)
        if not found:
            return row
        self.book.section(ws, row, 2, 12, "How much of each bill the gateways had seen")
        row += 1
        self.book.header(ws, row, columns)
        first = row + 1
        for one in found:
            row += 1
            parts = [one[key] for key in ("metered_cost", "excess_cost", "unmetered_cost", "non_usage_cost")]
            calls = sum(parts[:3], ZERO)
            seen = (f'IF(SUM(H{row}:J{row})=0,"n/a",H{row}/SUM(H{row}:J{row}))', parts[0] / calls if calls else "n/a")
            self.book.line(ws, row, columns, [
                words.vendor(one["provider"]), one["billing_account_id"], one["accrued_cost"], one["billing_currency"], seen, one["billed_cost"], *parts,
                (f"ROUND(G{row}-SUM(H{row}:K{row}),2)", words.half_up(one["billed_cost"] - sum(parts, ZERO))),
            ])  # fmt: skip
        self.book.red_unless_zero(ws, f"L{first}:L{row}")
        text = "Seen: of what was billed for calls of models. Beyond bound: more than the true-up bound of what was seen, paid as unseen usage."
        self.book.put(ws, row + 1, 2, text, NOTE)
        return row + 3

    def _shared_keys(self, ws: Any, row: int) -> int:
        """Vendor projects that no one team owns: their bill goes by the use of each, and nobody is asked first for what no calls explain."""
        columns = [
            Column("Vendor", 14), Column("Account", 22, _NAME), Column("Project, workspace or account", 34, replace(NOTE, wrap=True)), Column("State", 20, _NAME),
            Column("Teams", 11, Look(COUNT)), Column("Billed", 16, _MONEY), Column("By use", 16, _MONEY), Column("Not seen", 12, _MONEY), Column("Currency", 16, Look(indent=1)),
        ]  # fmt: skip
        found = figures.shared_keys(self.con, self.period, self.version)
        if not found:
            return row
        self.book.section(ws, row, 2, 12, "Vendor projects and keys that teams share")
        row += 1
        self.book.header(ws, row, columns)
        for one in found:
            row += 1
            state = "Shared by use, not all seen" if one["excess_cost"] else "Shared by use"
            self.book.line(ws, row, columns, [
                words.vendor(one["provider"]), one["billing_account_id"], one["sub_account_id"], state, one["teams"], one["billed_cost"], one["metered_cost"], one["excess_cost"], one["billing_currency"],
            ])  # fmt: skip
        self.book.put(ws, row + 1, 2, "No one team owns them in teams.yaml. By use: shared by what each team called. Not seen: no calls explain it, so it goes by the rule for unseen usage.", NOTE)
        return row + 3

    def _differences(self, ws: Any, row: int) -> int:
        """The largest differences by model and meter: what an owner has to explain."""
        share = replace(_MONEY, color=NOTE.color)
        columns = [
            Column("Vendor", 14), Column("Model and meter", 22, _NAME), Column("Days", 34, replace(NOTE, wrap=True)), Column("State", 20, _NAME),
            Column("Items", 11, Look(COUNT)), Column("Metered", 16, _MONEY), Column("Billed", 16, _MONEY), Column("Difference", 12, _MONEY),
            Column("from quantity", 16, share), Column("from price", 16, share), Column("from both", 12, share),
        ]  # fmt: skip
        found = figures.differences(self.con, self.period, _MOST_DIFFERENCES)
        if not found:
            return row
        self.book.section(ws, row, 2, 12, "The largest differences, by model and meter")
        row += 1
        self.book.header(ws, row, columns)
        for one in found:
            row += 1
            metered, billed = one["metered_cost"], one["billed_cost"]
            known = "n/a" if metered is None or billed is None else billed - metered
            what = " ".join(part for part in (one["model"] or "all models", words.plain(one["meter"])) if part)
            days = sorted({day for day in (one["first_day"], one["last_day"]) if day})
            values = ("n/a" if one[key] is None else one[key] for key in ("metered_cost", "billed_cost"))
            parts = ("n/a" if one[key] is None else one[key] for key in ("quantity_variance", "price_variance", "cross_variance"))
            self.book.line(ws, row, columns, [
                words.vendor(one["provider"]), what, " to ".join(f"{day:%-d %b %Y}" for day in days) or "the month", words.state(one["state"]), one["items"], *values,
                (f'IF(COUNT(G{row}:H{row})=2,H{row}-G{row},"n/a")', known), *parts,
            ])  # fmt: skip
        return row + 2

    def _alarms(self, ws: Any, row: int) -> None:
        """Units that look wrong, bills that drift, documents that do not fit."""
        found = [one for one in self.exceptions if one["kind"] in _ALARMS]
        if not found:
            return
        columns = [Column("Alarm", 14, _NAME), Column("What", 22, _NAME), Column("Meaning", 34, replace(NOTE, wrap=True)), Column("", 20), Column("Items", 11, Look(COUNT)), Column("Amount", 16, _MONEY)]
        self.book.section(ws, row, 2, 12, "Alarms")
        self.book.header(ws, row + 1, columns)
        for at, one in enumerate(found, row + 2):
            self.book.line(ws, at, columns, [words.state(one["kind"]), words.subject(one), one["detail"], None, one["events"], one["amount"]])

    def _variances(self, ws: Any, row: int) -> int:
        wrapped, share = replace(NOTE, wrap=True), replace(_MONEY, color=NOTE.color)
        columns = [
            Column("Vendor", 14), Column("Account", 22, _NAME), Column("What was done", 34, wrapped), Column("State", 20, _NAME), Column("Items", 11, Look(COUNT)),
            Column("Metered", 16, _MONEY), Column("Billed", 16, _MONEY), Column("Difference", 12, _MONEY), Column("from quantity", 16, share),
            Column("from price", 16, share), Column("from both", 12, share),
        ]  # fmt: skip
        self.book.section(ws, row, 2, 12, "Billed against metered, by state")
        self.book.header(ws, row + 1, columns)
        row += 2
        for one in self.reconciled:
            metered, billed = one["metered_cost"], one["billed_cost"]
            known = "n/a" if metered is None or billed is None else billed - metered
            sides = ("n/a" if one[key] is None else one[key] for key in ("metered_cost", "billed_cost"))
            parts = ("n/a" if one[key] is None else one[key] for key in ("quantity_variance", "price_variance", "cross_variance"))
            self.book.line(ws, row, columns, [
                words.vendor(one["provider"]), one["billing_account_id"], one["treatment"], words.state(one["state"]), one["items"], *sides,
                (f'IF(COUNT(G{row}:H{row})=2,H{row}-G{row},"n/a")', known), *parts,
            ])  # fmt: skip
            row += 1
        text = "n/a: one side has no amount, or the bill has no quantities to split the difference by." if self.reconciled else "Nothing to compare in this month."
        self.book.put(ws, row, 2, text, NOTE)
        return row + 2

    def _exceptions(self, title: str) -> None:
        columns = [Column("Kind", 20, Look(bold=True)), Column("What", 56, _NAME), Column("Amount", 18, _MONEY), Column("Rows", 12, Look(COUNT)), Column("Meaning", 60, replace(NOTE, indent=1, wrap=True))]
        ws = self.book.sheet(title, "Unallocated cost and exceptions", [c.width for c in columns])
        ws.freeze_panes, ws.print_title_rows = "B4", "1:3"
        row = self._unowned(ws, 4)
        self.book.section(ws, row, 2, 6, "Exceptions")
        self.book.header(ws, row + 1, columns)
        row += 2
        for one in self.exceptions:
            self.book.line(ws, row, columns, [words.state(one["kind"]), words.subject(one), one["amount"], one["events"], one["detail"]])
            row += 1
        if not self.exceptions:
            self.book.put(ws, row, 2, "Nothing to look at in this month.")
            row += 1
        self.book.put(ws, row + 1, 2, "Amounts are in the currency of the bill; an empty amount means that no price is known. Kinds overlap: do not add them up.", NOTE)

    def _unowned(self, ws: Any, row: int) -> int:
        """Cost without an owner, by reason: who has to name one."""
        columns = [Column("Reason", 20, _NAME), Column("What", 56, _NAME), Column("Amount", 18, _MONEY), Column("Rows", 12, Look(COUNT)), Column("Currency", 60, replace(NOTE, indent=1))]
        self.book.section(ws, row, 2, 6, "Unallocated cost, by reason")
        row += 1
        if not self.unallocated:
            self.book.put(ws, row, 2, "Everything has an owner.")
            return row + 2
        self.book.header(ws, row, columns)
        first = row + 1
        for one in self.unallocated:
            row += 1
            what = "  ·  ".join(part for part in (words.vendor(one["provider"]), one["service"], one["model"], words.plain(one["activity"])) if part)
            self.book.line(ws, row, columns, [words.plain(one["reason"]) or "No reason given", what, one["amount"], one["ledger_rows"], one["billing_currency"]])
        if len({one["billing_currency"] for one in self.unallocated}) == 1:
            row += 1
            sums = [sum((one[key] for one in self.unallocated), start) for key, start in (("amount", ZERO), ("ledger_rows", 0))]
            self.book.total(ws, row, columns, ["Unallocated", None, *((f"SUM({c}{first}:{c}{row - 1})", value) for c, value in zip("DE", sums, strict=True)), self.unallocated[0]["billing_currency"]])
        return row + 2

    def _adjustments(self, title: str) -> None:
        posting.adjustments_sheet(self, title)

    def _disputes(self, title: str) -> None:
        if self.disputes:
            posting.disputes_sheet(self, title)

    def _gpus(self, title: str) -> None:
        if self.con.execute("select count(*) from gpu_costs where period = ?", [self.period]).fetchall()[0][0]:
            gpus.sheet(self.book, title, self.con, self.period)

    def _rates(self, title: str) -> None:
        rates.sheet(self.book, title, self.con, self.period, self.version, None)

    def _journal(self, title: str) -> None:
        posting.journal_sheet(self, title)

    def _journal_lines(self, title: str) -> None:
        posting.lines_sheet(self, title)

    def _controls(self, title: str) -> None:
        ws = self.book.sheet(title, "Controls", [c.width for c in controls.CHECKS])
        billed = sum((i["billed_cost"] for i in self.invoices), ZERO)
        effective = sum((i["effective_cost"] for i in self.invoices), ZERO)
        last = max(6, 5 + len(self.invoices))
        total = ("Total_charge", self.total)
        checks = [
            controls.Check("Statements tie to lines", "Every statement is the sum of its lines", total, ("ROUND(SUM(Lines[Amount]),2)", sum((x["amount"] for x in self.lines), ZERO))),
            controls.Check("Posted and shown is all", f"{self.posted:,.2f} posted for teams on chargeback; the rest, showback and unallocated, is only shown", total, (f"Journal!{self.stated_cell}", self.total)),
            controls.Check("Journal equals statements", "Expense posted with this version and before it, and statements on chargeback", self.posted, self.expensed),
            controls.Check("Journal balances", "Debits equal credits; the sheet Journal has each legal entity", (f"Journal!{self.debit_cell}", self.debit), (f"Journal!{self.credit_cell}", self.credit)),
            controls.Check("Between legal entities", "What one owes is what the other claims", *(sum((self._net(j, role) for j in self.journal), ZERO) for role in ("due_from", "due_to"))),
            controls.Check("Nothing unexplained", "From every invoice to the statements, on the sheet Bridge", ZERO, (f"Bridge!{self.bridged.cell}", self.bridged.unexplained), CENT),
            controls.Check("Statements tie to the ledger", "All that the ledger charges, converted; below a cent per line is rounding", self.bridged.converted, total, CENT * max(1, len(self.lines))),
            controls.Check("Billed cost is in the ledger", "Every billed amount is carried by somebody", billed, (f"SUM(Reconciliation!H6:H{last})", sum((i["ledger_billed"] for i in self.invoices), ZERO)), CENT),
            controls.Check("Effective cost is in the ledger", "Every cost is carried by somebody", effective, (f"SUM(Reconciliation!K6:K{last})", sum((i["ledger_effective"] for i in self.invoices), ZERO)), CENT),
            controls.Check("Charged equals cost", "With or without a rate card, teams and platform together carry the cost", sum((s["effective"] for s in self.sides), ZERO), sum((s["ledger_charged"] for s in self.sides), ZERO), CENT),
        ]  # fmt: skip
        row = controls.check_block(self.book, ws, 4, checks)
        summary = self.book.wb["Summary"]
        controls_line(self.book, summary, f"As of {self.book.stamp.as_of}")
        self.book.section(ws, row, 2, 8, "The ledger behind each statement: SHA-256")
        for s in self.statements:
            row += 1
            self.book.line(ws, row, controls.CHECKS[:2], [s["statement_id"], s["ledger_hash"] or "none"])

    @staticmethod
    def _net(line: figures.Row, role: str) -> Decimal:
        """What a line adds to the claims of buyers (due_from) or the debts of consumers (due_to)."""
        return (line["debit"] - line["credit"]) * (1 if role == "due_from" else -1) if line["role"] == role else ZERO

    def _lines(self, title: str) -> None:
        id_ = Look(size=9)
        columns = [
            Column("Statement", 30, id_), Column("Team", 14, id_), Column("Cost center", 11, id_), Column("Legal entity", 11, id_), Column("Line", 6, Look("0_)", size=9)),
            Column("Section", 11, id_), Column("Activity", 16, id_), Column("Service", 25, id_), Column("Model", 22, id_), Column("Quantity", 16, Look(QUANTITY, size=9)),
            Column("Unit", 11, replace(id_, indent=1)), Column("List cost", 12, Look(MONEY, size=9)), Column("Amount", 12, Look(MONEY, size=9, bold=True)),
            Column("Month before", 13, Look(MONEY, size=9)), Column("Currency", 9, id_), Column("GL account", 11, id_), Column("Mode", 11, id_),
        ]  # fmt: skip
        ws = self.book.wb.create_sheet(title)
        ws.sheet_view.showGridLines, ws.freeze_panes = False, "C2"
        self.book.print_setup(ws, title, True)
        names = {self._key(s): s["statement_id"] for s in self.statements}
        rows = [
            (
                names.get(self._key(x)), x["team_id"], posting[2], posting[0], x["line_no"], x["category"], posting[3],
                x["service"], x["model"], x["quantity"], x["unit"], x["list_cost"], x["amount"], x["prior_amount"], x["currency"], posting[1], posting[4],
            )
            for x, posting in ((x, posting_of(x)) for x in self.lines)
        ]  # fmt: skip
        self.book.table(ws, 1, "Lines", columns, len(rows), of_tuples(rows))

    def _notes(self, title: str) -> None:
        controls.notes_sheet(self.book, title, self.rules, self.weights, None)


def posting_of(line: figures.Row) -> list[str]:
    """Legal entity, GL account, cost center, activity and mode of a line, in the words of the sheets Journal and Lines."""
    named = {**line, "activity": words.plain(line["activity"])}
    return [named[key] or "none" for key in ("legal_entity", "gl_account", "cost_center", "activity", "mode")]
