"""Wrong units, drifting bills and invoice documents, on hand-made tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import models, policy
from pipelines.home import asset

MONEY = "decimal(38, 12)"
TABLES = {
    "reconciliation": "usage_period varchar, provider varchar, billing_account_id varchar, model varchar, meter varchar, usage_date date, state varchar, treatment varchar,"
    f" metered_quantity {MONEY}, billed_quantity {MONEY}, metered_cost {MONEY}, billed_cost {MONEY}",
    "price_reconciliation": f"usage_period varchar, provider varchar, model varchar, usage_date date, state varchar, expected_cost {MONEY}, billed_cost {MONEY},"
    f" meter varchar, provider_quantity {MONEY}, reason varchar",
    "ledger": f"period varchar, team_id varchar, reason varchar, cost_pool varchar, effective_cost {MONEY}, chargeback_cost {MONEY}",
    "charge_portions": f"usage_period varchar, usage_date date, provider varchar, model varchar, service varchar, cluster varchar, portion varchar, effective_cost {MONEY}",
    "usage_daily": "usage_date date, provider varchar, model varchar, unpriced_events bigint, unpriced_because varchar, serving_pool varchar, unknown_trigger varchar, team_id varchar, events bigint, contracted_cost decimal(38, 12), list_cost decimal(38, 12)",
    "calls_told_twice": f"usage_date date, source varchar, other_source varchar, calls bigint, contracted_cost {MONEY}",
    "periods": "period varchar, starts_on date, ends_on date",
    "bill_lines": "usage_period varchar, billing_period varchar, provider varchar, billing_account_id varchar, sub_account_id varchar, invoice_id varchar,"
    f" billing_currency varchar, charge_category varchar, in_scope boolean, billed_cost {MONEY}",
    "gpu_hourly": "usage_period varchar, usage_date date, usage_hour timestamp, cluster varchar, gpu_model varchar, serving_pool varchar, use varchar, gpu_seconds decimal(18, 6)",
    "quarantine": "kind varchar, source varchar, path varchar, delivery_id varchar, reason varchar",
    "source_files": "kind varchar, state varchar, path varchar, delivery_id varchar, night date, seq bigint",
    "landed_invoices": f"invoice_id varchar, provider varchar, billing_account_id varchar, billing_period varchar, amount {MONEY}, tax {MONEY}, currency varchar,"
    " issued_on date, delivery_id varchar, source_file varchar, source_row bigint",
    "statement_lines": "period varchar, version integer, mode varchar, amount decimal(18, 2)",
    "versions_without_journal": "period varchar, version integer",
    "policy_edits": "period varchar, file varchar, entries integer, example varchar",
    "exchange_rates": f"period varchar, currency varchar, rate {MONEY}, frozen_on date, landed_rate {MONEY}",
}  # fmt: skip


class Marts:
    def __init__(self, folder: Path, close: str = "version: 1\n") -> None:
        policy.write_template(folder, "2026-09")
        (folder / "close.yaml").write_text(close)
        self.con = duckdb.connect()
        self.con.execute("attach ':memory:' as warehouse; use warehouse")
        self.con.execute(asset("sql", "macros.sql").read_text())
        policy.register(self.con, policy.load(folder))
        for name, columns in TABLES.items():
            self.con.execute(f"create table {name}({columns})")

    def day(self, day: int, billed: str, metered: str, counted: tuple[int, int] = (1_000_000, 1_000_000), state: str = "variance_price", month: int = 9) -> None:
        self.con.execute(
            f"insert into reconciliation values ('2026-{month:02}', 'v', 'acct', 'gpt', 'output', ?, ?, 'x', ?, ?, ?, ?)",
            [date(2026, month, day), state, counted[1], counted[0], metered, billed],
        )

    def line(self, cost: str, invoice: str | None = None, category: str = "Usage", ours: bool = True, account: str = "acct") -> None:
        self.con.execute("insert into bill_lines values ('2026-09', '2026-09', 'v', ?, null, ?, 'USD', ?, ?, ?)", [account, invoice, category, ours, cost])

    def document(self, amount: str, invoice: str = "I-1", tax: str = "0", seq: int = 1, account: str = "acct") -> None:
        self.con.execute("insert into source_files values ('invoices', 'landed', 'p', ?, '2026-10-05', ?)", [str(seq), seq])
        self.con.execute("insert into landed_invoices values (?, 'v', ?, '2026-09', ?, ?, 'USD', '2026-10-01', ?, 'f', 1)", [invoice, account, amount, tax, str(seq)])

    def made(self, table: str, through: date = date(2026, 10, 20)) -> list[tuple[Any, ...]]:
        by_name = {model.name: model for model in models.stage("marts")}
        for name in ("invoices", "invoice_reconciliation", "exceptions"):
            models.replace_all(self.con, by_name[name], {"through": through})
        return self.con.execute(table).fetchall()


@pytest.fixture
def marts(tmp_path: Path) -> Marts:
    return Marts(tmp_path / "policy")


ALARMS = "select period, what, amount, events, detail from exceptions where kind = '{}'"


@pytest.mark.parametrize(
    ("billed", "metered", "counted", "said"),
    [
        ("10000", "10", (1_000_000_000, 1_000_000), "1000 times what"),
        ("1004", "10", (1_000_000, 1_000_000), "100 times what"),
        ("10", "10000", (1, 1), "1/1000 of what"),
        ("10", "10.01", (1_000, 1_000_000), "1/1000 of what"),  # only the count is in another unit
        ("10", "10000000", (1, 1), "1/1000000 of what"),
        ("1020", "10", (1, 1), None),  # a hundred and two is no unit
        ("12", "10", (1_200_000, 1_000_000), None),
    ],
)
def test_a_round_factor_is_a_suspected_unit(marts: Marts, billed: str, metered: str, counted: tuple[int, int], said: str | None) -> None:
    marts.day(3, billed, metered, counted)
    found = marts.made(ALARMS.format("unit_suspect"))
    larger = max(Decimal(billed), Decimal(metered))
    assert found == ([("2026-09", "v gpt output", larger, 1, f"the bill has {said} was metered on 2026-09-03")] if said else [])


def test_days_of_one_wrong_unit_are_one_alarm(marts: Marts) -> None:
    for day in (3, 5, 6):
        marts.day(day, "10000", "10")
    assert marts.made(ALARMS.format("unit_suspect")) == [("2026-09", "v gpt output", 30000, 3, "the bill has 1000 times what was metered on 2026-09-03 and 2 other days")]


def test_a_week_that_moves_away_is_a_drift_and_one_bad_day_is_not(tmp_path: Path) -> None:
    for name, new, close, dollars in (
        ("raised", ["10.50"] * 7, "version: 1\n", Decimal("3.5")),
        ("fell", ["9.5"] * 7, "version: 1\n", Decimal("-3.5")),
        ("one-day", ["10"] * 6 + ["25"], "version: 1\n", None),
        ("within", ["10.20"] * 7, "version: 1\n", None),
        ("strict", ["10.20"] * 7, 'version: 1\ndifferences: [{provider: v, drift_points: "1"}]\n', Decimal("1.4")),
        ("other-vendors", ["10.20"] * 7, 'version: 1\ndifferences: [{provider: w, drift_points: "1"}]\n', None),
    ):
        marts = Marts(tmp_path / name, close)
        for day, billed in enumerate(["10"] * 7 + new, 10):
            marts.day(day, billed, "10")
        wanted = [("2026-09", "v gpt", dollars, 7)] if dollars else []
        assert [row[:4] for row in marts.made(ALARMS.format("drift"))] == wanted, name


def test_a_drift_is_seen_across_the_end_of_a_month(marts: Marts) -> None:
    for day in range(24, 31):
        marts.day(day, "10", "10")
    for day in range(1, 8):
        marts.day(day, "11", "10", month=10)
    assert [row[:3] for row in marts.made(ALARMS.format("drift"))] == [("2026-10", "v gpt", 7)]


STATES = "select invoice_id, state, difference, tax_beside from invoice_reconciliation order by all"


@pytest.mark.parametrize(
    ("amount", "state", "difference"),
    [("100.12", "matched", "-0.003"), ("100.13", "rounding", "0.007"), ("100.18", "differs", "0.057"), ("90", "differs", "-10.123"), ("100.123", "matched", "0")],
)
def test_a_document_against_the_lines_of_its_account(marts: Marts, amount: str, state: str, difference: str) -> None:
    marts.line("60.003")
    marts.line("40.12", ours=False)
    marts.document(amount)
    assert marts.made(STATES) == [("I-1", state, Decimal(difference), 0)]
    assert [row[2] for row in marts.made(ALARMS.format("invoice_differs"))] == ([Decimal(difference)] if state == "differs" else [])


def test_tax_is_beside_where_the_bill_has_none_and_inside_where_it_has(marts: Marts) -> None:
    marts.line("100")
    marts.document("119", tax="19")
    marts.line("100", account="taxed")
    marts.line("19", category="Tax", account="taxed")
    marts.document("119", "I-2", tax="19", account="taxed", seq=2)
    assert marts.made(STATES) == [("I-1", "matched", 0, 19), ("I-2", "matched", 0, 0)]


def test_lines_meet_the_document_they_name_and_the_rest_what_is_left(marts: Marts) -> None:
    marts.line("10", "I-1")
    marts.line("20", "I-2")
    marts.line("5")
    for seq, (amount, invoice) in enumerate((("10", "I-1"), ("21", "I-2"), ("2", "M-1"), ("3", "M-2")), 1):
        marts.document(amount, invoice, seq=seq)
    assert [row[:2] for row in marts.made(STATES)] == [("I-1", "matched"), ("I-2", "differs"), ("M-1, M-2", "matched")]


def test_a_document_delivered_again_replaces_itself_and_the_missing_side_is_named(marts: Marts) -> None:
    marts.line("10", "I-1")
    marts.line("7", account="no-document")
    marts.document("11", seq=1)
    marts.document("10", seq=2)
    marts.document("4", "I-9", account="no-bill", seq=3)
    wanted = [("I-1", "matched", Decimal(0), Decimal(0)), ("I-9", "bill_missing", None, Decimal(0)), (None, "invoice_missing", None, Decimal(0))]
    assert [row[:3] for row in marts.made(STATES)] == [row[:3] for row in wanted]
    assert {row[0] for row in marts.made("select kind from exceptions")} == {"bill_missing", "invoice_missing"}
    assert ("not_due",) in marts.made("select state from invoice_reconciliation", date(2026, 9, 30))


def test_who_lands_no_documents_misses_none(marts: Marts) -> None:
    marts.line("10")
    assert marts.made("select kind from exceptions") == [] and [row[1] for row in marts.made(STATES)] == ["invoice_missing"]


def test_what_costs_nothing_is_no_exception(marts: Marts) -> None:
    marts.con.execute("insert into charge_portions by name select '2026-09' as usage_period, 'v' as provider, 'free' as model, 'excess' as portion, 0 as effective_cost")
    marts.con.execute("insert into charge_portions by name select '2026-09' as usage_period, 'v' as provider, 'gpt' as model, 'excess' as portion, unnest([0, 3]) as effective_cost")
    marts.day(1, "0", "0", state="unmapped")
    assert marts.made("select kind, what, amount from exceptions") == [("unmetered", "v gpt", 3)]


def test_a_bill_that_is_not_its_own_usage_report_is_an_exception(marts: Marts) -> None:
    for day, state, cost in ((1, "matched", "10"), (2, "variance_price", "11"), (4, "variance_cost", "9.5"), (5, "not_comparable", "20")):
        marts.con.execute("insert into price_reconciliation values ('2026-09', 'v', 'gpt', ?, ?, 10, ?, 'output', 5, null)", [date(2026, 9, day), state, cost])
    assert marts.made(ALARMS.format("usage_report_differs")) == [
        ("2026-09", "v gpt", Decimal("0.5"), 2, "billed less what the vendor's own usage report should cost, from 2026-09-02 to 2026-09-04")
    ]


def test_what_a_report_counts_and_nothing_prices_is_an_exception_with_its_quantity(marts: Marts) -> None:
    for day, quantity in ((1, "45.5"), (2, "20")):
        marts.con.execute(
            "insert into price_reconciliation values ('2026-09', 'v', 'whisper', ?, 'unpriced', null, 3, 'seconds', ?, 'no price of seconds')", [date(2026, 9, day), quantity]
        )
    assert marts.made(ALARMS.format("unpriced")) == [
        ("2026-09", "v whisper seconds, as reported", None, 2, "no price of seconds: 65.5 in the vendor's own usage report")
    ]
