"""Contracts: prices by scope and volume, terms over days, what is bought ahead, minimums and fees; against plain fractions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from pipelines import close, models, policy, prices, reconcile
from pipelines.books import Entry
from pipelines.errors import Refused
from pipelines.home import Home, asset
from pipelines.policy import Period, Policy
from pipelines.run import Run
from pipelines.sources import BILL_LINE, SHAPES
from pipelines.warehouse import tables
from pipelines.yaml_file import PolicyRefused

DAY = timedelta(days=1)
OCTOBER = Period("2026-10", date(2026, 10, 1), date(2026, 11, 1))
NOVEMBER = Period("2026-11", date(2026, 11, 1), date(2026, 12, 1))
SOURCES = """version: 1
billing:
  - {name: bills, format: focus, provider: openai, legal_entity: MAIN}
  - {name: cloud, format: focus, provider: azure, legal_entity: MAIN}
"""


def agreed(folder: Path, contracts: str) -> Policy:
    """The template's policy with these contracts."""
    if not folder.exists():
        policy.write_template(folder, "2026-10")
    (folder / "sources.yaml").write_text(SOURCES)
    (folder / "contracts.yaml").write_text("version: 1\n" + contracts)
    return policy.load(folder)


def refused(folder: Path, contracts: str) -> str:
    with pytest.raises(PolicyRefused) as caught:
        agreed(folder, contracts)
    return "\n".join(str(reason) for reason in caught.value.reasons)


class Warehouse:
    """One period's SQL over bill lines and metered traffic written by hand."""

    def __init__(self, loaded: Policy, lines: Iterable[dict[str, Any]] = (), used: Iterable[dict[str, Any]] = (), rates: dict[str, str] | None = None) -> None:
        self.policy = loaded
        self.con = duckdb.connect()
        self.con.execute("attach ':memory:' as warehouse; use warehouse")
        self.con.execute(asset("sql", "macros.sql").read_text())
        policy.register(self.con, loaded)
        reconcile.register_rates(self.con, rates or {})
        self.table("source_files", {"delivery_id": "varchar", "seq": "bigint", "path": "varchar", "kind": "varchar", "state": "varchar"}, [{"delivery_id": "d", "seq": 1, "path": "bill.csv", "kind": "billing", "state": "landed"}])  # fmt: skip
        self.table("bill_coverage", {"source": "varchar", "billing_account_id": "varchar", "billing_period": "varchar", "delivery_id": "varchar", "usage_date": "date"}, [{"source": s, "billing_account_id": "acc", "billing_period": "2026-10", "delivery_id": "d"} for s in ("bills", "cloud")])  # fmt: skip
        names = ("usage_period", "provider", "model_as_logged", "model", "price_provider", "price_model")
        self.table("model_names", dict.fromkeys(names, "varchar"), [])
        more = {"source": "varchar", "delivery_id": "varchar", "source_row": "bigint", "source_file": "varchar"}
        self.table("landed_bills", BILL_LINE | more, [self.line(row, **line) for row, line in enumerate(lines, 1)])
        self.table("landed_invoices", SHAPES["invoices"] | more, [])
        daily = {
            "usage_date": "date", "provider": "varchar", "billing_account_id": "varchar", "model": "varchar", "service_tier": "varchar",
            "region": "varchar", "team_id": "varchar", "project_id": "varchar", "application": "varchar", "environment": "varchar",
            "operation": "varchar", "rate_id": "varchar", "serving_pool": "varchar", "gateway_cache": "varchar",
            **{f"{meter}_tokens": "bigint" for meter in prices.TOKEN_METERS}, "images": "bigint", "search_units": "bigint", "requests": "bigint",
        }  # fmt: skip
        self.table("usage_daily", daily, [
            {"provider": "openai", "billing_account_id": "acc", "model": "gpt-x", "service_tier": "standard", "operation": "chat", "rate_id": "r",
             **{f"{meter}_tokens": 0 for meter in prices.TOKEN_METERS}, **one} for one in used
        ])  # fmt: skip
        priced = {f"{kind}_{meter}": "decimal(24, 18)" for kind in ("list", "contracted") for meter in prices.METERS}
        words = {name: "varchar" for name in ("usage_period", "rate_id", "rate_source", "contract_id", "provider", "model", "service_tier", "region", "source", "source_version")}
        other = {"valid_from": "date", "valid_to": "date", "minute_from": "integer", "minute_to": "integer", "input_gt": "bigint", "input_le": "bigint", "recorded_at": "date"}
        each = {name: Decimal("0.000002") for name in priced}
        self.table("rates", words | other | priced, [{"usage_period": p, "rate_id": "r", **each} for p in ("2026-10", "2026-11")])

    @staticmethod
    def line(row: int, day: date, cost: str, **said: Any) -> dict[str, Any]:
        start = datetime(day.year, day.month, day.day)
        return {
            "billing_account_id": "acc", "charge_category": "Usage", "charge_frequency": "Usage-Based", "service": "API",
            "usage_date": day, "charge_period_start": start, "charge_period_end": start + DAY, "billing_period": f"{day:%Y-%m}",
            "billing_period_start": day.replace(day=1), "billing_period_end": (day.replace(day=1) + 32 * DAY).replace(day=1),
            "list_cost": cost, "contracted_cost": cost, "effective_cost": cost, "billed_cost": cost, "billing_currency": "USD",
            "source": "bills", "delivery_id": "d", "source_row": row, "source_file": "bill.csv", **said,
        }  # fmt: skip

    def table(self, name: str, columns: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
        self.con.execute(f"create or replace table {name}({', '.join(f'{column} {kind}' for column, kind in columns.items())})")
        for row in rows:
            self.con.execute(f"insert into {name}({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values()))

    def work(self, period: Period = OCTOBER, as_of: date = date(2027, 1, 1)) -> Warehouse:
        params = {"period": period.label, "period_start": period.start, "period_end": period.end, "as_of": as_of}
        normalize = {model.name: model for model in models.stage("normalize")}
        self.con.execute("create table if not exists serving_tokens(usage_period varchar, usage_date date, serving_pool varchar, weighted_tokens decimal(38, 6))")
        self.con.execute("create table if not exists serving_coverage(usage_period varchar, usage_date date, serving_pool varchar, unattributed_weighted_tokens decimal(38, 6))")
        self.con.execute("create table if not exists charge_gpu(usage_period varchar, charge_id varchar, use varchar, serving_pool varchar, weight hugeint)")
        for name in ("bill_lines", "billed_days"):
            models.replace_period(self.con, normalize[name], params)
        for model in models.stage("reconcile"):
            if model.name not in ("serving_tokens", "serving_coverage", "charge_gpu", "price_reconciliation"):
                models.replace_period(self.con, model, params)
        return self

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def check(self) -> None:
        """The laws of bills and portions, as `apportion check` has them."""
        self.con.execute("create or replace view period_charges as select * from origin_charges")
        for check in models.checks():
            if check.name in ("charges_conserve_bills", "portions_conserve_charges"):
                assert self.rows(check.sql) == []


def cut(amount: str, low: int, high: int, total: int) -> Decimal:
    """What lies between two cumulative days of an amount, in whole pico-units."""
    units = int(Fraction(amount) * 10**12)
    return Decimal(units * high // total - units * low // total).scaleb(-12)


# --- terms -------------------------------------------------------------------------------------------------------------

COMMITTED = """commitments:
  - {id: reserved, provider: openai, lines: {charge_description: "Committed*", since: 2026-10-05}, from: 2026-10-10, to: 2027-01-10}
"""
BOUGHT = {"charge_category": "Purchase", "charge_frequency": "One-Time", "charge_description": "Committed use", "service": "Commitments"}


@pytest.mark.parametrize("day, first", [(date(2026, 10, 7), date(2026, 10, 10)), (date(2026, 10, 10), date(2026, 10, 10)), (date(2026, 10, 13), date(2026, 10, 13))])
def test_a_commitment_is_billed_on_its_date_and_costs_every_day_of_its_term(tmp_path: Path, day: date, first: date) -> None:
    """Before, on and after the first day of the term; over four months the parts add up to the cent and beyond."""
    last = date(2027, 1, 10)
    made = Warehouse(agreed(tmp_path / "p", COMMITTED), [{"day": day, "cost": "1000", **BOUGHT}, {"day": day, "cost": "7"}])
    for start in (date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)):
        made.work(Period(f"{start:%Y-%m}", start, (start + 32 * DAY).replace(day=1)), date(2027, 3, 1))
        made.check()
    found = made.rows("select usage_date, effective_cost, billed_cost, list_cost from origin_charges where contract_id = 'reserved' order by 1")
    total = (last - first).days
    expected = {first + n * DAY: [cut("1000", n, n + 1, total), Decimal(0)] for n in range(total)}
    expected.setdefault(day, [Decimal(0), Decimal(0)])[1] = Decimal(1000)
    assert {when: [effective, billed] for when, effective, billed, _ in found} == expected
    assert sum(row[1] for row in found) == sum(row[2] for row in found) == sum(row[3] for row in found) == 1000
    assert made.rows("select sum(effective_cost) from origin_charges where contract_id is null") == [(7,)]
    assert made.rows("select count(*) from origin_charges group by charge_id having count(*) > 1") == []


def test_what_the_bill_amortizes_itself_is_left_as_it_is(tmp_path: Path) -> None:
    line = {"day": date(2026, 10, 10), "cost": "1000", **BOUGHT, "effective_cost": "0"}
    made = Warehouse(agreed(tmp_path / "p", COMMITTED), [line]).work()
    assert made.rows("select usage_date, effective_cost, billed_cost from origin_charges") == [(date(2026, 10, 10), 0, 1000)]


def test_an_instalment_is_for_its_own_days(tmp_path: Path) -> None:
    """What is paid by the month for a commitment of three months is the month's; it belongs to the commitment all the same."""
    day = date(2026, 10, 10)
    fee = {"day": day, "cost": "22", **BOUGHT, "charge_frequency": "Recurring", "charge_period_end": datetime(2026, 11, 1)}
    made = Warehouse(agreed(tmp_path / "p", COMMITTED), [fee]).work()
    made.check()
    assert made.rows("select count(*), min(effective_cost), max(effective_cost), min(billed_cost), min(contract_id) from origin_charges") == [(22, 1, 1, 1, "reserved")]


def test_only_days_until_today_cost(tmp_path: Path) -> None:
    made = Warehouse(agreed(tmp_path / "p", COMMITTED), [{"day": date(2026, 10, 10), "cost": "92", **BOUGHT}]).work(as_of=date(2026, 10, 12))
    assert made.rows("select sum(effective_cost), sum(billed_cost) from origin_charges") == [(3, 92)]
    assert made.rows("select count(*) from billed_days") == [(0,)]


def test_a_training_cost_is_used_up_over_the_life_of_its_model(tmp_path: Path) -> None:
    trained = "training_costs:\n  - {id: ranker, provider: openai, lines: {sku_meter: fine-tuning*}, from: 2026-10-31, life_months: 4}\n"
    loaded = agreed(tmp_path / "p", trained)
    assert loaded.contracts.training_costs[0].spread == (date(2026, 10, 31), date(2027, 2, 28))
    line = {"day": date(2026, 10, 31), "cost": "360.06", "sku_meter": "fine-tuning tokens", "model_as_logged": "gpt-x"}
    made = Warehouse(loaded, [line])
    assert [loaded.reaches_back(period) for period in (OCTOBER, NOVEMBER)] == [OCTOBER.start, date(2026, 10, 31)]
    for period, days, billed in ((OCTOBER, 1, "360.06"), (NOVEMBER, 30, "0")):
        made.work(period)
        made.check()
        found = made.rows(f"select sum(effective_cost), sum(billed_cost), any_value(activity), count(*) from origin_charges where usage_period = '{period.label}'")
        before = 0 if period is OCTOBER else 1
        assert found == [(cut("360.06", before, before + days, 120), Decimal(billed), "training", days)]


# --- what is bought ahead ------------------------------------------------------------------------------------------------


def test_what_use_leaves_of_a_commitment_is_idle(tmp_path: Path) -> None:
    """A day is worth 10: 4 of use on the first, 16 less 9 charged beside it on the second, more than 10 on the third."""
    covered = COMMITTED.replace("from: 2026-10-10, to: 2027-01-10", "from: 2026-10-10, to: 2026-10-13, covers: {models: gpt-*}")
    day = date(2026, 10, 10)
    used = [
        {"usage_date": day, "team_id": "a", "output_tokens": 500_000}, {"usage_date": day, "team_id": "b", "output_tokens": 1_500_000},
        {"usage_date": day, "team_id": "c", "output_tokens": 9_000_000, "model": "other"},
        {"usage_date": day + DAY, "team_id": "a", "output_tokens": 8_000_000},
        {"usage_date": day + 2 * DAY, "team_id": "b", "output_tokens": 90_000_000},
    ]  # fmt: skip
    beside = {"day": day + DAY, "cost": "9", "model_as_logged": "gpt-x", "sku_meter": "output", "consumed_quantity": "4500000", "consumed_unit": "Tokens"}
    made = Warehouse(agreed(tmp_path / "p", covered), [{"day": day, "cost": "30", **BOUGHT}, beside], used).work()
    made.check()
    found = made.rows("select usage_date, portion, activity, effective_cost from charge_portions where contract_id is not null order by 1, 2")
    assert found == [
        (day, "metered", "other", 4), (day, "unused", "commitment_idle", 6),
        (day + DAY, "metered", "other", 7), (day + DAY, "unused", "commitment_idle", 3),
        (day + 2 * DAY, "metered", "other", 10),
    ]  # fmt: skip
    costs = made.rows(next(m for m in models.stage("marts") if m.name == "contract_costs").sql)
    assert costs == [("2026-10", "reserved", "openai", "USD", 30, 30, 21, 9)]
    shared = made.rows("select u.team_id, u.metered_cost from charge_usage u join origin_charges c using (charge_id) where c.contract_id is not null and c.usage_date = date '2026-10-10' order by 1")
    assert shared == [("a", 1), ("b", 3)]


@pytest.mark.parametrize("currency, rates", [("USD", {}), ("EUR", {"EUR": "1.25"}), ("EUR", {})])
def test_until_the_bill_comes_only_use_beyond_a_commitment_accrues(tmp_path: Path, currency: str, rates: dict[str, str]) -> None:
    """A day is worth 10 dollars: 4 of use take 4 and accrue nothing, 16 take all and accrue 6; what it does not cover accrues beside it."""
    covered = COMMITTED.replace("from: 2026-10-10, to: 2027-01-10", "from: 2026-10-10, to: 2026-10-13, covers: {models: gpt-*}")
    day = date(2026, 10, 10)
    used = [
        {"usage_date": day + DAY, "team_id": "a", "output_tokens": 2_000_000}, {"usage_date": day + DAY, "team_id": "a", "output_tokens": 500_000, "model": "other"},
        {"usage_date": day + 2 * DAY, "team_id": "a", "output_tokens": 6_000_000}, {"usage_date": day + 2 * DAY, "team_id": "b", "cache_read_tokens": 2_000_000},
    ]  # fmt: skip
    bought = {"day": day, "cost": "30" if currency == "USD" else "24", **BOUGHT, "billing_currency": currency}
    made = Warehouse(agreed(tmp_path / "p", covered), [bought], used, rates).work()
    if currency != "USD" and not rates:
        with pytest.raises(Refused, match="no exchange rate of EUR for 2026-10: a commitment needs it"):
            reconcile.require_rates(made.con, "2026-10")
        return
    reconcile.require_rates(made.con, "2026-10")
    made.check()
    accrued = made.rows("select usage_date, model, sku_meter, effective_cost, contracted_cost, list_cost from origin_charges where origin = 'accrual' order by all")
    assert accrued == [
        (day + DAY, "gpt-x", "output", 0, 0, 0), (day + DAY, "other", "output", 1, 1, 1),
        (day + 2 * DAY, "gpt-x", "cache_read", *[Decimal("1.5")] * 3), (day + 2 * DAY, "gpt-x", "output", *[Decimal("4.5")] * 3),
    ]  # fmt: skip
    taken = made.rows("select usage_date, portion, effective_cost from charge_portions where contract_id is not null order by 1, 2")
    one = Decimal("10") if currency == "USD" else Decimal("8")
    assert taken == [(day, "unused", one), (day + DAY, "metered", one * 4 / 10), (day + DAY, "unused", one * 6 / 10), (day + 2 * DAY, "metered", one)]


def test_commitments_that_cover_the_same_use_pay_for_it_together(tmp_path: Path) -> None:
    """Two are worth 10 dollars a day each: of 16 and 24 dollars that both cover nothing and 4 accrue. A third pays for its own model, and nothing is paid for twice."""
    term = '  - {id: %s, provider: openai, lines: {charge_description: "%s"}, from: 2026-10-10, to: 2026-10-13, covers: {models: [%s]}}\n'
    text = "commitments:\n" + term % ("one", "First", '"gpt-*", gpt-x') + term % ("other", "Second", '"gpt-*"') + term % ("wide", "Third", '"gpt-*", wide')
    day = date(2026, 10, 10)
    used = [{"usage_date": day + DAY * n, "team_id": "a", "output_tokens": tokens * 1_000_000, "model": model} for n, model, tokens in ((1, "gpt-x", 8), (2, "gpt-x", 12), (2, "wide", 20))]
    for thirds, wanted in (("0", [("gpt-x", 0), ("gpt-x", 4), ("wide", 40)]), ("30", [("gpt-x", 0), ("gpt-x", 4), ("wide", 30)])):
        lines = [{"day": day, "cost": cost, **BOUGHT, "charge_description": name} for name, cost in (("First", "30"), ("Second", "30"), ("Third", thirds))]
        made = Warehouse(agreed(tmp_path / thirds, text), lines, used).work()
        made.check()
        assert made.rows("select model, effective_cost from origin_charges where origin = 'accrual' order by usage_date, model") == wanted


def test_commitments_that_cover_the_same_models_are_used_one_after_another(tmp_path: Path) -> None:
    """Of two that are worth 10 dollars a day each, 16 dollars of use take all of the first and 6 of the second."""
    term = '  - {id: %s, provider: openai, lines: {charge_description: "%s"}, from: 2026-10-10, to: 2026-10-13, covers: {models: gpt-*}}\n'
    day = date(2026, 10, 10)
    lines = [{"day": day, "cost": "30", **BOUGHT, "charge_description": name} for name in ("First", "Second")]
    used = [{"usage_date": day + DAY, "team_id": "a", "output_tokens": 8_000_000}]
    made = Warehouse(agreed(tmp_path / "p", "commitments:\n" + term % ("one", "First") + term % ("two", "Second")), lines, used).work()
    made.check()
    found = made.rows("select contract_id, portion, effective_cost from charge_portions where usage_date = '2026-10-11' and contract_id is not null order by all")
    assert found == [("one", "metered", 10), ("two", "metered", 6), ("two", "unused", 4)]


def test_what_accrues_beyond_a_commitment_is_exact_however_large(tmp_path: Path) -> None:
    covered = COMMITTED.replace("from: 2026-10-10, to: 2027-01-10", "from: 2026-10-10, to: 2026-10-13, covers: {models: gpt-*}")
    day = date(2026, 10, 10)
    used = [{"usage_date": day + DAY, "team_id": "a", "output_tokens": 10**14}, {"usage_date": day + DAY, "team_id": "b", "cache_read_tokens": 1}]
    made = Warehouse(agreed(tmp_path / "p", covered), [{"day": day, "cost": "30", **BOUGHT}], used).work()
    (total,) = made.rows("select sum(effective_cost)::decimal(38, 12) from origin_charges where origin = 'accrual'")
    assert total == (Decimal("199999990.000002"),)


def test_provisioned_units_are_used_by_tokens(tmp_path: Path) -> None:
    text = """throughput:
  - {id: ptu, provider: azure, lines: {sku_meter: "Provisioned*"}, covers: {models: gpt-x}, tokens_per_unit_hour: 1000, output_weight: 4}
"""
    day = date(2026, 10, 4)
    units = {"day": day, "cost": "48", "source": "cloud", "sku_meter": "Provisioned Managed Global Unit", "consumed_quantity": "48", "consumed_unit": "Hours"}
    used = [
        {"usage_date": day, "team_id": "a", "provider": "azure", "input_uncached_tokens": 4_000, "images": 5_000, "requests": 9_000, "gateway_cache": "none"},
        {"usage_date": day, "team_id": "b", "provider": "azure", "output_tokens": 1_500, "reasoning_tokens": 500},
    ]
    made = Warehouse(agreed(tmp_path / "p", text), [units], used).work()
    made.check()
    assert made.rows("select portion, activity, effective_cost, consumed_quantity from charge_portions order by 1") == [
        ("metered", "other", 12, 12), ("unused", "commitment_idle", 36, 36),
    ]  # fmt: skip
    assert made.rows("select team_id, metered_tokens, metered_cost from charge_usage order by 1") == [("a", 4_000, 0), ("b", 8_000, 0)]


@pytest.mark.parametrize("weight, wanted", [("", (10_000, 10, 38)), (", cache_read_weight: 0", (4_000, 4, 44)), (', cache_read_weight: "0.5"', (7_000, 7, 41))])
def test_cached_tokens_take_what_the_contract_says_of_provisioned_units(tmp_path: Path, weight: str, wanted: tuple[int, int, int]) -> None:
    """48 unit hours of 1,000 tokens; 4,000 tokens are read by the model, 6,000 from its cache. Nothing else bills them."""
    text = f"""throughput:
  - {{id: ptu, provider: azure, lines: {{sku_meter: "Provisioned*"}}, covers: {{models: gpt-x}}, tokens_per_unit_hour: 1000{weight}}}
"""
    day = date(2026, 10, 4)
    units = {"day": day, "cost": "48", "source": "cloud", "sku_meter": "Provisioned Managed Global Unit", "consumed_quantity": "48", "consumed_unit": "Hours"}
    used = [{"usage_date": day, "team_id": "a", "provider": "azure", "input_uncached_tokens": 4_000, "cache_read_tokens": 6_000}]
    made = Warehouse(agreed(tmp_path / "p", text), [units], [*used, {**used[0], "model": "other"}]).work()
    made.check()
    tokens, taken, idle = wanted
    assert made.rows("select portion, effective_cost from charge_portions order by 1") == [("metered", taken), ("unused", idle)]
    assert made.rows("select team_id, metered_tokens from charge_usage") == [("a", tokens)]
    states = made.rows("select model, meter, state, treatment from reconciliation where metered_quantity is not null order by 1, 2")
    bought, missing = ("covered", "paid by what was bought ahead: shares its charge"), ("unbilled", "no money: the bill of that day does not have it")
    assert states == [("gpt-x", "cache_read", *bought), ("gpt-x", "input_uncached", *bought), ("other", "cache_read", *missing), ("other", "input_uncached", *missing)]


PREPAID = """prepaid:
  - {id: credits, provider: openai, lines: {charge_description: "Credits bought"}, from: 2026-10-05, to: 2026-11-21%s}
"""


@pytest.mark.parametrize("named", [True, False])
def test_prepaid_credit_costs_what_is_used_of_it_and_its_rest_when_it_ends(tmp_path: Path, named: bool) -> None:
    """Use takes 30 of 100 in October and 25.5 in November, as negative lines of the bill or as use that is billed at nothing."""
    days = [(date(2026, 10, 7), "30"), (date(2026, 11, 20), "25.5")]
    lines = [{"day": date(2026, 10, 5), "cost": "100", "charge_category": "Purchase", "charge_description": "Credits bought"}]
    for day, cost in days:
        lines.append({"day": day, "cost": cost} if named else {"day": day, "cost": cost, "billed_cost": "0"})
        if named:
            lines.append({"day": day, "cost": f"-{cost}", "charge_category": "Credit", "charge_description": "Credits used"})
    made = Warehouse(agreed(tmp_path / "p", PREPAID % (', drawn: {charge_description: "Credits used"}' if named else "")), lines)
    for period, effective, billed in ((OCTOBER, 30, 100), (NOVEMBER, Decimal("25.5") + Decimal("44.5"), 0)):
        made.work(period)
        made.check()
        found = made.rows(f"select sum(effective_cost), sum(billed_cost) from origin_charges where usage_period = '{period.label}' and origin = 'bill'")
        assert found == [(effective, billed)]
    assert made.rows("select usage_date, effective_cost from origin_charges where activity = 'commitment_idle'") == [(date(2026, 11, 20), Decimal("44.5"))]
    assert made.policy.reaches_back(NOVEMBER) == date(2026, 10, 5)


# --- minimums and fees ---------------------------------------------------------------------------------------------------

MINIMUM = """minimums:
  - {id: plan, provider: openai, lines: {charge_description: "Plan minimum*"}, amount: "310", from: 2026-10-01}
"""


def test_a_shortfall_accrues_until_the_bill_names_it(tmp_path: Path) -> None:
    lines = [{"day": date(2026, 10, 3), "cost": "20"}, {"day": date(2026, 10, 9), "cost": "40"}, {"day": date(2026, 10, 9), "cost": "50", "charge_category": "Tax"}]
    loaded = agreed(tmp_path / "p", MINIMUM)
    awaited = "select usage_date, effective_cost, billed_cost, activity, estimate_status from origin_charges where origin = 'contract'"
    assert Warehouse(loaded, lines).work(as_of=date(2026, 10, 4)).rows(awaited) == [(date(2026, 10, 4), 20, 0, "platform", "Estimated")]
    made = Warehouse(loaded, lines).work()
    made.check()
    assert made.rows(awaited) == [(date(2026, 10, 31), 250, 0, "platform", "Estimated")]
    named = {"day": date(2026, 10, 31), "cost": "250", "charge_category": "Purchase", "charge_description": "Plan minimum shortfall"}
    assert Warehouse(loaded, [*lines, named]).work().rows(awaited) == []
    assert Warehouse(loaded, [*lines, {"day": date(2026, 10, 12), "cost": "251"}]).work().rows(awaited) == []


@pytest.mark.parametrize(
    "currency, rates, wanted",
    [
        ("EUR", {"EUR": "1.25"}, ("EUR", Decimal(240))),  # 20 dollars of the bill are 16 euros, 50 of accruals 40; 14 of the bill are euros
        ("USD", {"EUR": "1.25"}, ("USD", Decimal("222.5"))),
        ("CNY", {"EUR": "1.25", "CNY": "0.125"}, ("CNY", Decimal(310 - 160))),  # of two currencies that are not the company's
        ("EUR", {}, ("EUR", Decimal(296))),  # without a rate, dollars do not count, and the close asks for it
    ],
)
def test_use_in_another_currency_counts_against_a_minimum_at_the_months_rate(tmp_path: Path, currency: str, rates: dict[str, str], wanted: tuple[str, Decimal]) -> None:
    lines = [{"day": date(2026, 10, 3), "cost": "20"}, {"day": date(2026, 10, 4), "cost": "14", "billing_currency": "EUR"}]
    used = [{"usage_date": date(2026, 10, 9), "team_id": "a", "output_tokens": 25_000_000}]
    if currency == "CNY":
        lines, used = [lines[0]], []
    loaded = agreed(tmp_path / "p", MINIMUM.replace('amount: "310"', f'amount: "310", currency: {currency}'))
    made = Warehouse(loaded, lines, used, rates).work()
    made.check()
    assert made.rows("select billing_currency, effective_cost from origin_charges where origin = 'contract'") == [wanted]


def test_fees_accrue_by_day_and_in_percent_of_usage(tmp_path: Path) -> None:
    text = """fees:
  - {id: desk, provider: openai, lines: {charge_description: Desk fee}, amount: "100", from: 2026-10-30}
  - {id: reseller, provider: openai, lines: {charge_description: Reseller fee}, percent: "5.5"}
"""
    lines = [{"day": date(2026, 10, 3), "cost": "19.99"}, {"day": date(2026, 10, 3), "cost": "7", "billing_currency": "EUR"}, {"day": date(2026, 10, 4), "cost": "5", "charge_category": "Credit"}]
    loaded = agreed(tmp_path / "p", text)
    awaited = "select service, usage_date, billing_currency, effective_cost from origin_charges where origin = 'contract' order by all"
    made = Warehouse(loaded, lines).work()
    made.check()
    assert made.rows(awaited) == [
        ("Fee desk", date(2026, 10, 30), "USD", cut("100", 29, 30, 31)), ("Fee desk", date(2026, 10, 31), "USD", cut("100", 30, 31, 31)),
        ("Fee reseller", date(2026, 10, 3), "EUR", Decimal("0.385")), ("Fee reseller", date(2026, 10, 3), "USD", Decimal("1.09945")),
    ]  # fmt: skip
    named = {"day": date(2026, 10, 31), "cost": "1.2", "charge_category": "Purchase", "charge_description": "Reseller fee"}
    assert {row[0] for row in Warehouse(loaded, [*lines, named]).work().rows(awaited)} == {"Fee desk"}


# --- prices --------------------------------------------------------------------------------------------------------------


def tiers(mode: str) -> str:
    return f"""volume_tiers:
  - id: volume
    provider: openai
    model: gpt-x
    meter: output
    mode: {mode}
    tiers: [{{up_to: 1000000, per_million: "3"}}, {{up_to: 2500000, per_million: "2"}}, {{per_million: "0.7"}}]
"""


USED = [("a", 1, 700_001), ("b", 1, 99_999), ("a", 2, 900_000), ("b", 5, 1_700_003), ("a", 5, 1)]


@pytest.mark.parametrize("mode", ["graduated", "flat"])
def test_volume_tiers_go_by_the_quantity_of_the_month(tmp_path: Path, mode: str) -> None:
    used = [{"usage_date": date(2026, 10, day), "team_id": team, "output_tokens": count} for team, day, count in USED]
    made = Warehouse(agreed(tmp_path / "p", tiers(mode)), [], [*used, {"usage_date": date(2026, 10, 1), "team_id": "a", "cache_read_tokens": 10}]).work()

    def price(token: int) -> Fraction:
        return Fraction(3 if token <= 1_000_000 else 2 if token <= 2_500_000 else Fraction(7, 10)) / 1_000_000

    def through(count: int) -> Fraction:
        first, second = min(count, 1_000_000), max(min(count, 2_500_000) - 1_000_000, 0)
        return first * price(1) + second * price(1_000_001) + max(count - 2_500_000, 0) * price(2_500_001)

    month, before = sum(count for *_, count in USED), 0
    expected: dict[date, Fraction] = defaultdict(Fraction)
    for _, day, count in USED:
        expected[date(2026, 10, day)] += through(before + count) - through(before) if mode == "graduated" else count * price(month)
        before += count
    found = made.rows("select usage_date, sum(contracted_cost) from usage_meters where meter = 'output' group by all order by 1")
    assert {day: Fraction(cost) for day, cost in found} == expected
    first = made.rows("select team_id, contracted_cost from usage_meters where usage_date = date '2026-10-01' and meter = 'output' order by 1")
    assert all(abs(Fraction(cost) - expected[date(2026, 10, 1)] * count / 800_000) < Fraction(1, 10**12) for (_, cost), (_, _, count) in zip(first, USED, strict=False))
    assert made.rows("select contracted_cost from usage_meters where meter = 'cache_read'") == [(Decimal("0.00002"),)]


DISCOUNTS = """discounts:
  - {id: all, percent: "1"}
  - {id: openai, provider: openai, percent: "2"}
  - {id: api, provider: openai, service: API, percent: "3"}
  - {id: model, provider: openai, model: gpt-5, percent: "4", from: 2026-10-10, to: 2026-10-20}
  - {id: sku, provider: openai, model: gpt-5, meter: output, markup: "5", from: 2026-10-15}
private_prices:
  - {id: cached, provider: openai, model: gpt-5, meter: cache_read, per_million: "0.1", from: 2026-10-12}
  - {id: secret, provider: openai, model: gpt-hidden, meter: input_uncached, per_million: "8"}
  - {id: secret-out, provider: openai, model: gpt-hidden, meter: output, per_million: "20", from: 2026-10-05}
"""


def test_the_narrowest_scope_makes_the_price(tmp_path: Path) -> None:
    made = Warehouse(agreed(tmp_path / "p", DISCOUNTS))
    made.con.execute("create or replace temp table model_resolution(provider varchar, model_as_logged varchar, seller varchar, model varchar, price_provider varchar, price_model varchar, rule varchar, source_version varchar)")
    known = [("openai", "gpt-5", "gpt-5"), ("openai", "gpt-5-mini", "gpt-5-mini"), ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5")]
    made.con.executemany("insert into model_resolution values (?, ?, ?, ?, ?, ?, '', '1')", [(p, n, p, n, p, m) for p, n, m in known])
    made.con.execute("insert into model_resolution values ('openai', 'GPT-Hidden', 'openai', 'gpt-hidden', null, null, 'no rule', '1')")
    prices.register(made.con, asset("data", "list_prices"))
    params = {"period": "2026-10"}
    tables(made.con).difference_update({"model_names", "rates"})
    made.con.execute("drop table model_names; create table bill_lines as select '2026-09' as usage_period, 'openai' as provider, 'gpt-5' as model, 'API' as service")
    models.replace_period(made.con, next(m for m in models.stage("normalize") if m.name == "model_names"), params)
    made.con.execute("drop table rates; create table bill_prices(usage_period varchar, provider varchar, model varchar, service_tier varchar, meter varchar, unit_price decimal(24, 18))")
    made.con.execute("""
        insert into bill_prices values ('2026-10', 'anthropic', 'claude-haiku-4-5', 'standard', 'output', 0.000004),
            ('2026-10', 'google', 'gemini-inside', 'batch', 'input_uncached', 0.000007)""")
    models.replace_period(made.con, next(m for m in models.stage("rate") if m.name == "rates"), params)

    def price(provider: str, model: str, meter: str, day: int) -> Fraction | None:
        sql = f"select contracted_{meter} from rates where provider = ? and model = ? and service_tier = 'standard' and ? >= valid_from and ? < valid_to"
        when = date(2026, 10, day)
        ((found,),) = made.con.execute(sql, [provider, model, when, when]).fetchall()
        return None if found is None else Fraction(found) * 1_000_000

    def off(listed: str, percent: int) -> Fraction:
        return Fraction(listed) * (100 - percent) / 100

    assert price("anthropic", "claude-haiku-4-5", "output", 1) == off("5", 1)
    assert made.rows("select service_tier, contracted_input_uncached * 1000000, rate_source from rates where model = 'gemini-inside'") == [("batch", 7, "bill")]
    assert price("openai", "gpt-5-mini", "output", 1) == off("2", 2)
    assert price("openai", "gpt-5", "output", 9) == off("10", 3)
    assert price("openai", "gpt-5", "output", 10) == off("10", 4)
    assert [price("openai", "gpt-5", meter, 15) for meter in ("output", "reasoning", "input_uncached")] == [off("10", -5), off("10", -5), off("1.25", 4)]
    assert [price("openai", "gpt-5", "cache_read", day) for day in (11, 12, 25)] == [off("0.125", 4), Fraction(1, 10), Fraction(1, 10)]
    assert price("openai", "gpt-5", "input_uncached", 20) == off("1.25", 3)
    assert [price("openai", "gpt-hidden", meter, 6) for meter in ("input_uncached", "cache_read", "output", "reasoning")] == [8, 8, 20, 20]
    assert made.rows("select count(*) from rates r join rates s on r.provider = s.provider and r.model = s.model and r.service_tier = s.service_tier and r.input_gt = s.input_gt and r.valid_from < s.valid_from and s.valid_from < r.valid_to") == [(0,)]


# --- currencies of accruals ---------------------------------------------------------------------------------------------


def test_an_accrual_is_in_the_currency_of_our_prices_and_the_bill_in_its_own(tmp_path: Path) -> None:
    """Two days of use at 4 dollars; then the bill of the first comes, in yuan, and replaces it."""
    used = [{"usage_date": date(2026, 10, day), "team_id": "a", "output_tokens": 2_000_000} for day in (1, 2)]
    bill = {"day": date(2026, 10, 1), "cost": "28", "billing_currency": "CNY", "model_as_logged": "gpt-x", "sku_meter": "output", "consumed_quantity": "2000000", "consumed_unit": "Tokens"}
    amounts = "select usage_date, origin, billing_currency, effective_cost from origin_charges order by 1"
    first, second = date(2026, 10, 1), date(2026, 10, 2)
    accrued = Warehouse(agreed(tmp_path / "p", ""), [], used).work()
    assert accrued.rows(amounts) == [(first, "accrual", "USD", 4), (second, "accrual", "USD", 4)]
    billed = Warehouse(agreed(tmp_path / "p", ""), [bill], used).work()
    assert billed.rows(amounts) == [(first, "bill", "CNY", 28), (second, "accrual", "USD", 4)]
    assert billed.rows("select state, metered_cost, billed_cost from reconciliation order by usage_date") == [("not_comparable", None, 28), ("unbilled", 4, None)]


# --- finality ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "documents, wanted",
    [
        ([], "Final"),  # who lands no documents of a vendor does not wait for them
        ([("I-1", "12", "2")], "Final"),  # the tax is on the document alone
        ([("I-1", "4", "0"), ("I-2", "6.03", "0")], "Final"),  # within close.yaml's invoice_amount
        ([("I-1", "10.2", "0")], "Estimated"),
        ([("I-1", "10.2", "0"), ("I-1", "10", "0")], "Final"),  # the second delivery of the document
        ([("other month", "10", "0")], "Estimated"),
    ],
)
def test_a_bill_is_final_once_its_documents_are_equal(tmp_path: Path, documents: list[tuple[str, str, str]], wanted: str) -> None:
    loaded = agreed(tmp_path / "p", "")
    (tmp_path / "p" / "sources.yaml").write_text(SOURCES.replace("provider: openai,", "provider: openai, final_when: invoiced,"))
    loaded = policy.load(tmp_path / "p")
    made = Warehouse(loaded, [{"day": date(2026, 10, 2), "cost": "4", "invoice_id": "I-1"}, {"day": date(2026, 10, 3), "cost": "6", "invoice_id": "I-2"}])
    for seq, (name, amount, tax) in enumerate(documents):
        made.con.execute("insert into source_files values (?, ?, 'i.csv', 'invoices', 'landed')", [f"i{seq}", seq])
        made.con.execute(
            "insert into landed_invoices by name select ? as invoice_id, 'openai' as provider, 'acc' as billing_account_id, ? as billing_period, ? as amount, ? as tax, 'USD' as currency, ? as delivery_id",
            [name, "2026-09" if name == "other month" else "2026-10", amount, tax, f"i{seq}"],
        )
    assert made.work().rows("select distinct estimate_status from origin_charges") == [(wanted,)]


RESOLD = """discounts:
  - {id: azure, provider: azure, percent: "10"}
  - {id: openai, provider: openai, percent: "50"}
private_prices:
  - {id: cached, provider: azure, model: gpt-4o, meter: cache_read, per_million: "0.1"}
"""


@pytest.mark.parametrize("contracts, priced", [("", ("bill", 9, Decimal("1.25"))), (RESOLD, ("contract", 9, Decimal("0.1")))])
def test_a_model_of_another_vendors_list_has_its_sellers_contract_and_bill(tmp_path: Path, contracts: str, priced: tuple[str, Decimal, Decimal]) -> None:
    """Azure sells what OpenAI's list has at 10 and 1.25 dollars a million; its own bill charges 9 for what the model answers."""
    made = Warehouse(agreed(tmp_path / "p", contracts))
    prices.register(made.con, asset("data", "list_prices"))
    made.con.execute("create temp table logged as select * from (values ('azure_ai', 'gpt-4o'), ('azure', 'prod-chat'), ('openai', 'gpt-4o')) t(provider, model_as_logged)")
    prices.resolve_models(made.con, "logged", asset("data", "list_prices"), overrides=[prices.Override("azure", "prod-chat", "openai", "gpt-4o")])
    tables(made.con).difference_update({"model_names", "rates"})
    made.con.execute("drop table model_names; drop table rates; create table bill_lines(usage_period varchar, provider varchar, model varchar, service varchar)")
    made.con.execute("create table bill_prices as select '2026-10' as usage_period, 'azure' as provider, 'gpt-4o' as model, 'standard' as service_tier, 'output' as meter, 0.000009::decimal(24, 18) as unit_price")
    for stage, name in (("normalize", "model_names"), ("rate", "rates")):
        models.replace_period(made.con, next(m for m in models.stage(stage) if m.name == name), {"period": "2026-10"})
    found = made.rows("""
        select m.model_as_logged, m.price_provider, m.list_provider, r.rate_source, r.contracted_output * 1000000, r.contracted_cache_read * 1000000
        from model_names m join rates r on r.provider = m.price_provider and r.model = m.price_model
        where r.service_tier = 'standard' and r.region = '' and date '2026-10-05' >= r.valid_from and date '2026-10-05' < r.valid_to
        order by 2, 1
    """)
    assert found[:2] == [("gpt-4o", "azure", "openai", *priced), ("prod-chat", "azure", "openai", *priced)]
    own = ("contract", 5, Decimal("0.625")) if contracts else ("list", 10, Decimal("1.25"))
    assert found[2:] == [("gpt-4o", "openai", "openai", *own)]


# --- currencies ----------------------------------------------------------------------------------------------------------


def test_a_missing_exchange_rate_is_named_with_its_period_and_pair() -> None:
    con = duckdb.connect()
    con.execute("create table policy_company as select 'USD' as currency")
    con.execute("create table ledger(version integer, original_period varchar, billing_currency varchar, chargeback_cost decimal(38, 12))")
    con.executemany("insert into ledger values (?, ?, ?, ?)", [
        (0, "2026-10", "EUR", 1), (0, "2026-11", "EUR", 1), (0, "2026-10", "JPY", 0), (0, "2026-11", "GBP", -1), (1, "2026-09", "CHF", 1), (0, "2026-10", "USD", 1),
    ])  # fmt: skip
    con.execute("create table exchange_rates as select '2026-10' as period, 'EUR' as currency, 1.1::decimal(38, 12) as rate")
    with pytest.raises(Refused, match="no exchange rate from EUR to USD for 2026-11, GBP to USD for 2026-11; land a CSV"):
        close._require_rates(SimpleNamespace(con=con))  # type: ignore[arg-type]
    con.execute("insert into exchange_rates values ('2026-11', 'EUR', 1.2), ('2026-11', 'GBP', 1.3)")
    close._require_rates(SimpleNamespace(con=con))  # type: ignore[arg-type]


def test_amounts_are_exact_however_large() -> None:
    """As whole units and back, and cut in proportion, where the products are beyond 128 bits."""
    con = duckdb.connect()
    con.execute(asset("sql", "macros.sql").read_text())
    for text in ("0", "-0.000000000001", "99999999999999.999999999999", "-86400000000000000000.5", "12345678901234567890123.123456789012"):
        assert con.execute("select pico($1::decimal(38, 12)), money(pico($1::decimal(38, 12)))", [text]).fetchall() == [(int(Fraction(text) * 10**12), Decimal(text))]
    for units, low, high, total in ((10**33, 1, 3, 7), (-(10**33) - 1, 0, 10**15, 10**15 + 1), (5, 2, 3, 3), (10**24 + 7, 10**15, 10**15 + 1, 10**17)):
        sign = 1 if units > 0 else -1
        wanted = sign * (abs(units) * high // total - abs(units) * low // total)
        assert con.execute("select cut($1::hugeint, $2::hugeint, $3::hugeint, $4::hugeint)", [units, low, high, total]).fetchall() == [(wanted,)]
    for units, part, whole in ((-(10**30), 10**17, 3 * 10**16), (10**30, 10**17, -7 * 10**16), (7, 10**37, 10**20)):
        wanted = abs(units) * part // abs(whole) * (1 if units * whole > 0 else -1)
        assert con.execute("select part_of($1::hugeint, $2::hugeint, $3::hugeint)", [units, part, whole]).fetchall() == [(wanted,)]


# --- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, line, said",
    [
        (DISCOUNTS.replace("  - {id: model,", '  - {id: twice, provider: openai, model: gpt-5, percent: "9", from: 2026-10-19}\n  - {id: model,'), 6, "discounts of openai gpt-5 overlap"),
        ('discounts:\n  - {id: all, percent: "1"}\n  - {id: again, percent: "2", from: 2026-10-01}\n', 4, "discounts of everything overlap"),
        ('discounts:\n  - {id: a, model: gpt-5, percent: "1"}\n', 3, "needs its provider"),
        ('discounts:\n  - {id: a, percent: "1", markup: "1"}\n', 3, "name a percent"),
        ('discounts:\n  - {id: a, provider: openai, meter: output, percent: "1"}\n', 3, "a meter needs its model"),
        (tiers("flat") + 'private_prices:\n  - {id: p, provider: openai, model: gpt-x, meter: output, per_million: "1"}\n', 3, "prices of openai gpt-x output overlap"),
        (tiers("stepped"), 7, "mode"),
        (tiers("flat").replace("up_to: 1000000", "up_to: 3000000"), 3, "tiers rise by up_to"),
        (COMMITTED.replace("provider: openai", "provider: opanai"), 3, "unknown provider opanai"),
        (COMMITTED.replace("to: 2027-01-10", "to: 2026-10-10"), 3, "holds on no day"),
        (COMMITTED.replace("since: 2026-10-05", "since: 2026-10-15"), 3, "`since` is after `from`"),
        (COMMITTED.replace('charge_description: "Committed*", ', ""), 3, "name at least one of service"),
        (COMMITTED + MINIMUM.replace("id: plan", "id: reserved"), 5, "two contracts are called reserved"),
        (MINIMUM.replace('amount: "310"', 'amount: "0"'), 3, "amount"),
        ('fees:\n  - {id: f, provider: openai, lines: {service: x}}\n', 3, "name an amount a month or a percent"),
        ('private_prices:\n  - {id: p, provider: openai, model: gpt-x, meter: output, per_million: "1000000"}\n', 3, "per_million"),
        ('fees:\n  - {id: f, provider: openai, lines: {service: x}, percent: "1", currency: EUR}\n', 3, "a percent has no currency of its own"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_refused_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    found = refused(tmp_path / "p", text)
    assert said in found
    assert any(text.startswith(f"contracts.yaml:{line}:") or f"contracts.yaml:{line}:" in text for text in found.split("\n") if said in text), found


def test_a_term_that_a_closed_month_began_stays_as_it_was(tmp_path: Path) -> None:
    """Else the parts that are booked and those still to come would not add up to what was billed."""
    loaded = agreed(tmp_path / "p", COMMITTED)
    assert loaded.terms_beyond(NOVEMBER) == loaded.terms_beyond(OCTOBER) != []
    assert loaded.terms_beyond(Period("2027-01", date(2027, 1, 1), date(2027, 2, 1))) == []
    closed = Entry(1, "closed", tmp_path, {"terms": loaded.terms_beyond(OCTOBER)}, {}, "")

    def require(policy: Policy, entry: Entry) -> None:
        Run(Home(tmp_path), duckdb.connect(), policy, None, NOVEMBER.start, print)._require_terms(OCTOBER, entry)  # type: ignore[arg-type]

    require(loaded, closed)
    require(agreed(tmp_path / "p", COMMITTED + MINIMUM), closed)
    later = COMMITTED.replace("id: reserved", "id: more").replace("since: 2026-10-05", "since: 2026-11-01").replace("from: 2026-10-10", "from: 2026-11-02")
    require(agreed(tmp_path / "p", COMMITTED + later.removeprefix("commitments:\n")), closed)
    for changed in (COMMITTED.replace("2027-01-10", "2027-01-11"), later, ""):
        with pytest.raises(Refused, match="reserved is not what 2026-10 was closed with"):
            require(agreed(tmp_path / "p", changed), closed)
    with pytest.raises(Refused, match=r"contracts\.yaml"):
        require(loaded, Entry(1, "closed", tmp_path, {}, {}, ""))


def test_use_of_a_vendor_that_bills_two_entities_accrues_once(tmp_path: Path) -> None:
    """With the entity of the source that has the account on the day; an account that no source has accrues with one of them."""
    folder = tmp_path / "p"
    policy.write_template(folder, "2026-10")
    company, sources = folder / "company.yaml", folder / "sources.yaml"
    company.write_text(company.read_text().replace("legal_entities:\n", "legal_entities:\n  - {id: EU, name: Europe}\n"))
    other = "  - {name: %s, format: focus, provider: openai, legal_entity: %s, billing_account_id: %s, record: {%s}}\n"
    later = other % ("later", "MAIN", "acc-eu", "from: 2026-10-09") + other % ("european", "EU", "acc-eu", "to: 2026-10-09")
    sources.write_text(SOURCES.replace("legal_entity: MAIN}", "legal_entity: MAIN, billing_account_id: acc}", 1).replace("  - {name: cloud", later + "  - {name: cloud"))
    used = [
        {"usage_date": date(2026, 10, day), "team_id": "a", "output_tokens": 1_000_000, "billing_account_id": account}
        for day, account in ((5, "acc"), (5, "acc-eu"), (5, "new"), (9, "acc-eu"))
    ]
    found = Warehouse(policy.load(folder), used=used).work().rows("select usage_date, billing_account_id, legal_entity, effective_cost from origin_charges order by all")
    assert [(day.day, *rest) for day, *rest in found] == [(5, "acc", "MAIN", 2), (5, "acc-eu", "EU", 2), (5, "new", "MAIN", 2), (9, "acc-eu", "MAIN", 2)]
