"""The sheet Bridge: from each vendor's invoices to the statements, every step an amount, nothing left unexplained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb

from pipelines.render import figures, words
from pipelines.render.book import MONEY, NOTE, Column, Look
from pipelines.render.figures import ZERO, Row

if TYPE_CHECKING:
    from pipelines.render.company import Company

_MONEY = Look(MONEY, align="right")
_BOLD = replace(_MONEY, bold=True)
_NAME = Look(wrap=True)
_HEAD = (Column("Vendor", 14), Column("Account", 19, _NAME))
_STATED = (
    *_HEAD, Column("Invoices", 24, replace(NOTE, wrap=True)), Column("Currency", 10, Look(indent=1)), Column("Invoiced", 15, _MONEY),
    Column("Tax beside the bill", 12, _MONEY), Column("Rounding, differences", 13, _MONEY), Column("Lines of the bill", 15, _MONEY),
    Column("Not ours", 14, _MONEY), Column("Booked in other months", 14, _MONEY), Column("Of other invoices", 14, _MONEY),
    Column("Billed in this month", 15, _BOLD), Column("Unexplained", 13, _MONEY),
)  # fmt: skip
_CHARGED = (
    *_HEAD, Column("Corrections of earlier months within it", 24, replace(_MONEY, color=NOTE.color)), Column("Currency", 10, Look(indent=1)),
    Column("Billed in this month", 15, _MONEY), Column("Amortized", 12, _MONEY), Column("Accrued", 13, _MONEY), Column("Own hardware", 15, _MONEY),
    Column("Posted to teams", 14, _MONEY), Column("Shown to teams", 14, _MONEY), Column("Kept by the platform", 14, _MONEY),
    Column("Unallocated", 15, _MONEY), Column("Unexplained", 13, _MONEY),
)  # fmt: skip
_AMOUNTS = (
    "invoiced", "tax_beside", "difference", "not_ours", "from_others", "billed", "credits", "tax", "accrued", "own", "amortized",
    "corrections", "posted", "shown", "kept", "unallocated",
)  # fmt: skip
_STEPS = 20  # rows of the bridge for one currency


def rows(con: duckdb.DuckDBPyConnection, period: str, version: int) -> list[Row]:
    """One row per vendor account and currency: its invoices of the month, what of them is booked in it, and who carries that.

    `invoiced`: documents, and the bill's lines where there is no document yet. Everything in the currency of the bill.
    """
    return figures.rows(
        con,
        f"""
        with documents as (
            select
                provider, billing_account_id, billing_currency,
                string_agg(coalesce(invoice_id, 'no number') || case when invoice_amount is null then ' (no document)' else '' end, ', ' order by invoice_id) as invoices,
                sum(coalesce(invoice_amount, lines_cost))::decimal(38, 12) as invoiced,
                sum(case when invoice_amount is null or lines_cost is null then 0 else tax_beside end)::decimal(38, 12) as tax_beside,
                sum(case when lines_cost is null then invoice_amount else coalesce(difference, 0) end)::decimal(38, 12) as difference,
                coalesce(sum(out_of_scope_cost), 0)::decimal(38, 12) as not_ours
            from invoice_reconciliation where period = $period group by all
        ),
        history as (
            select provider, billing_account_id, billing_currency, sum(billed_cost)::decimal(38, 12) as cost
            from bill_lines
            where in_scope and billing_period = $period and charge_id not in (select coalesce(corrects_charge_id, charge_id) from charges)
            group by all
        ),
        booked as (
            select
                provider, billing_account_id, billing_currency,
                sum(billed_cost) filter (billing_period = $period and period <> $period) as elsewhere,
                sum(billed_cost) filter (billing_period is distinct from $period and period = $period) as from_others,
                sum(billed_cost) filter (period = $period) as billed,
                sum(billed_cost) filter (period = $period and charge_category = 'Credit') as credits,
                sum(billed_cost) filter (period = $period and charge_category = 'Tax') as tax,
                sum(effective_cost - billed_cost) filter (period = $period and origin in ('accrual', 'contract')) as accrued,
                sum(effective_cost - billed_cost) filter (period = $period and origin = 'declared') as own,
                sum(effective_cost - billed_cost) filter (period = $period and origin not in ('accrual', 'contract', 'declared')) as amortized,
                sum(effective_cost) filter (period = $period and original_period <> $period) as corrections
            from charges
            where period = $period or billing_period = $period
            group by all
        ),
        modes as (
            select distinct team_id, cost_center, mode from statements where period = $period and version = $version
        ),
        carried as (
            select
                c.provider, c.billing_account_id, c.billing_currency,
                sum(l.chargeback_cost) filter (l.activity = 'recovery') as kept,
                sum(l.chargeback_cost) filter (l.activity <> 'recovery' and l.team_id = 'unallocated') as unallocated,
                sum(l.chargeback_cost) filter (l.activity <> 'recovery' and l.team_id <> 'unallocated' and m.mode = 'chargeback') as posted,
                sum(l.chargeback_cost) filter (l.activity <> 'recovery' and l.team_id <> 'unallocated' and m.mode is distinct from 'chargeback') as shown
            from ledger l
            join charges c on c.charge_id = l.charge_id
            left join modes m on m.team_id = l.team_id and m.cost_center is not distinct from l.cost_center
            where l.period = $period and l.version = $version
            group by all
        )
        select
            provider, billing_account_id, billing_currency, d.invoices,
            (coalesce(b.elsewhere, 0) + coalesce(h.cost, 0))::decimal(38, 12) as elsewhere,
            {", ".join(f"coalesce({name}, 0)::decimal(38, 12) as {name}" for name in _AMOUNTS)}
        from documents d
        full join booked b using (provider, billing_account_id, billing_currency)
        full join history h using (provider, billing_account_id, billing_currency)
        full join carried c using (provider, billing_account_id, billing_currency)
        order by billing_currency, invoices is null, provider, billing_account_id
        """,
        period=period,
        version=version,
    )


class Bridge:
    """The sheet, written from the bottom up: two tables of accounts, and above them the steps that sum them."""

    def __init__(self, company: Company, title: str) -> None:
        self.company, self.book = company, company.book
        self.rows = [row for row in company.bridge if any(row[name] for name in ("elsewhere", *_AMOUNTS))]
        self.billed = [row for row in self.rows if row["invoices"] or row["elsewhere"] or row["from_others"] or row["billed"]]
        self.currencies = sorted({row["billing_currency"] for row in self.rows})
        self.title = title
        self.unexplained = ZERO
        self.converted = ZERO

    def write(self) -> None:
        ws = self.book.sheet(self.title, "From the invoices to the statements", [c.width for c in _STATED])
        ws.freeze_panes, ws.print_title_rows = "B4", "1:3"
        steps = 4
        below = steps + sum(_STEPS + (currency != self.company.currency) for currency in self.currencies) + 7
        self.stated, row = self._table(ws, below, "Invoices, and what of them is booked in this month", _STATED, self.billed, self._stated)
        self.charged, row = self._table(ws, row, "What is booked in this month, and who carries it", _CHARGED, self.rows, self._charged)
        text = (
            "Invoiced: the vendor's documents, and the lines of the bill where there is no document yet. Credits and taxes are lines of the bill."
            " Other months: days of the same invoice that another month's statements carry."
        )
        self.book.put(ws, row - 1, 2, text, NOTE)
        self._steps(ws, steps)
        self.book.one_page(ws, row)

    def _table(self, ws: Any, row: int, heading: str, columns: tuple[Column, ...], rows: list[Row], line: Callable[[int, Row], list[Any]]) -> tuple[tuple[int, int], int]:
        """A row per account; returns its first and last row, and the row for what comes next."""
        self.book.section(ws, row, 2, 14, heading)
        self.book.header(ws, row + 1, columns, height=38)
        first = at = row + 2
        for one in rows:
            self.book.line(ws, at, columns, line(at, one))
            at += 1
        if not rows:
            self.book.put(ws, at, 2, "Nothing was billed or booked in this month.", NOTE)
            at += 1
        self.book.red_unless_zero(ws, f"N{first}:N{at - 1}")
        return (first, at - 1), at + 2

    def _stated(self, row: int, one: Row) -> list[Any]:
        lines = one["invoiced"] - one["tax_beside"] - one["difference"]
        gap = words.half_up(lines - one["not_ours"] - one["elsewhere"] + one["from_others"] - one["billed"])
        self.unexplained += abs(gap)
        return [
            words.vendor(one["provider"]), one["billing_account_id"], one["invoices"] or "no vendor bill", one["billing_currency"], one["invoiced"],
            -one["tax_beside"], -one["difference"], (f"F{row}+G{row}+H{row}", lines), -one["not_ours"], -one["elsewhere"], one["from_others"],
            one["billed"], (f"ROUND(SUM(I{row}:L{row})-M{row},2)", gap),
        ]  # fmt: skip

    def _charged(self, row: int, one: Row) -> list[Any]:
        cost = one["billed"] + one["amortized"] + one["accrued"] + one["own"]
        gap = words.half_up(cost - one["posted"] - one["shown"] - one["kept"] - one["unallocated"])
        self.unexplained += abs(gap)
        return [
            words.vendor(one["provider"]), one["billing_account_id"], one["corrections"], one["billing_currency"], one["billed"], one["amortized"], one["accrued"],
            one["own"], one["posted"], one["shown"], one["kept"], one["unallocated"], (f"ROUND(SUM(F{row}:I{row})-SUM(J{row}:M{row}),2)", gap),
        ]  # fmt: skip

    def _steps(self, ws: Any, row: int) -> None:
        """Per currency of bills, the accounts summed: each step is a live sum over the tables below."""
        columns = (Column("Step", 14), Column("", 19), Column("", 24), Column("Currency", 10, Look(indent=1)), Column("Amount", 15, _MONEY))
        self.book.section(ws, row, 2, 14, "The bridge")
        self.book.header(ws, row + 1, (*columns, Column("What it is", 12), *[Column("", 12)] * 7))
        row += 2
        for currency in self.currencies:
            row = self._currency(ws, row, columns, currency)
        rounding = self.company.total - self.converted
        self._step(ws, row, columns, "Rounding", self.company.currency, rounding, "All lines of a month and legal entity are rounded together, to whole cents")
        row += 1
        self.book.total(ws, row, columns, ["All statements", None, None, self.company.currency, ("Total_charge", self.company.total)])
        self.book.put(ws, row + 1, 2, "Unexplained", Look(bold=True))
        ranges = [f"N{first}:N{last}" for first, last in (self.stated, self.charged)]
        formula = "+".join(f'SUMIF({cells},">0")-SUMIF({cells},"<0")' for cells in ranges)
        self.book.formula(ws, row + 1, 6, formula, self.unexplained, _BOLD)
        self.book.red_unless_zero(ws, f"F{row + 1}")
        self.cell = f"F{row + 1}"

    def _currency(self, ws: Any, row: int, columns: tuple[Column, ...], currency: str) -> int:
        mine = [one for one in self.rows if one["billing_currency"] == currency]

        def live(table: tuple[int, int], column: str, value: Decimal) -> tuple[str, Decimal]:
            first, last = table
            return f"SUMIFS({column}{first}:{column}{last},E{first}:E{last},E{row})", value

        def total(*names: str) -> Decimal:
            return sum((one[name] for one in mine for name in names), ZERO)

        stated, charged = self.stated, self.charged
        start = row
        billed, cost = total("billed"), total("billed", "amortized", "accrued", "own")
        usage = billed - total("credits", "tax")
        steps: list[tuple[str, Any, str, bool]] = [
            ("Vendor invoices", lambda: live(stated, "F", total("invoiced")), f"{len([1 for one in mine if one['invoices']])} accounts", False),
            ("Tax beside the bill", lambda: live(stated, "G", -total("tax_beside")), "On a document whose bill lists no tax; not charged back", False),
            ("Rounding and differences of documents", lambda: live(stated, "H", -total("difference")), "A document against its lines", False),
            ("Not ours", lambda: live(stated, "J", -total("not_ours")), "Lines of others on a shared bill", False),
            ("Booked in other months", lambda: live(stated, "K", -total("elsewhere")), "Days of these invoices on another month's statements", False),
            ("Of other invoices", lambda: live(stated, "L", total("from_others")), "Late and restated lines of other months' invoices", False),
            ("Billed in this month", lambda: (f"SUM(F{start}:F{row - 1})", billed), "", True),
            ("of which usage and purchases", lambda: usage, "", False),
            ("of which credits and refunds", lambda: total("credits"), "", False),
            ("of which tax", lambda: total("tax"), "", False),
            ("Amortized", lambda: live(charged, "G", total("amortized")), "Commitments spread over their term, less what was billed for them", False),
            ("Accrued", lambda: live(charged, "H", total("accrued")), "Used, and not billed yet", False),
            ("Own hardware", lambda: live(charged, "I", total("own")), "Declared GPUs at their rate", False),
            ("Cost to be charged", lambda: (f"F{start + 6}+SUM(F{row - 3}:F{row - 1})", cost), "", True),
            ("of which corrections of earlier months", lambda: live(charged, "D", total("corrections")), "The sheet Adjustments has each", False),
            ("Posted to teams", lambda: live(charged, "J", total("posted")), "Teams on chargeback: the sheet Journal", False),
            ("Shown to teams", lambda: live(charged, "K", total("shown")), "Teams on showback: not posted", False),
            ("Kept by the platform", lambda: live(charged, "L", total("kept")), "Bought at cost, less sold at the rate card", False),
            ("Unallocated", lambda: live(charged, "M", total("unallocated")), "No owner known: the sheet Exceptions", False),
            ("Charged", lambda: (f"SUM(F{row - 4}:F{row - 1})", total("posted", "shown", "kept", "unallocated")), "", True),
        ]  # fmt: skip
        for name, amount, meaning, bold in steps:
            self._step(ws, row, columns, name, currency, amount(), meaning, bold)
            row += 1
        charged_here = total("posted", "shown", "kept", "unallocated")
        converted, rates = self._converted(currency, charged_here)
        self.converted += converted
        if currency != self.company.currency:
            at = f" at {rates[0]:f}".rstrip("0").rstrip(".") if len(rates) == 1 else ""
            self._step(ws, row, columns, f"Converted{at}", self.company.currency, converted, "The rate of the month; of a correction, that of its own month", True)
            row += 1
        return row

    def _converted(self, currency: str, charged: Decimal) -> tuple[Decimal, list[Decimal]]:
        """What was charged in the statements' currency, exactly, and the rates it was converted at."""
        if currency == self.company.currency:
            return charged, [Decimal(1)]
        lines = [line for line in self.company.lines if self.company.currency_of(line) == currency]
        rates = sorted({line["fx_rate"] for line in lines if line["fx_rate"]})
        dust = charged - sum((line["cost"] for line in lines), ZERO)  # on no line: too small for a cent
        return sum((line["exact"] for line in lines), ZERO) + dust * (rates[0] if rates else 1), rates

    def _step(self, ws: Any, row: int, columns: tuple[Column, ...], name: str, currency: str, amount: Any, meaning: str, bold: bool = False) -> None:
        part = name.startswith("of which")
        change: dict[str, Any] = {"bold": bold}
        if part:
            change["color"] = NOTE.color
        if bold:
            change["top"] = ("thin", NOTE.color)
        self.book.line(ws, row, columns, [f"    {name}" if part else name, None, None, currency, amount], **change)
        self.book.put(ws, row, 7, meaning, replace(NOTE, indent=1))
