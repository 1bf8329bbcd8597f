"""Billed against metered: grains, states, tolerances and exact variances, on hand-made charges and usage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import models, policy
from pipelines.home import asset
from pipelines.policy.tables import COLUMNS

PARAMS = {"period": "2026-09", "period_start": date(2026, 9, 1), "period_end": date(2026, 10, 1), "as_of": date(2026, 9, 30)}
PICO = Fraction(1, 10**12)
STATES = {
    "matched", "timing", "variance_price", "variance_quantity", "variance_cost", "unmetered", "unmapped", "unbilled", "covered", "not_comparable", "non_usage",
}  # fmt: skip
MONEY = "decimal(38, 12)"
TABLES = {
    "origin_charges": "usage_period varchar, charge_id varchar, provider varchar, billing_account_id varchar, sub_account_id varchar, legal_entity varchar,"
    " charge_category varchar, charge_class varchar, service varchar, sku_meter varchar, model varchar, region varchar, service_tier varchar,"
    " activity varchar, vector_index_id varchar, serving_pool varchar, cluster varchar, contract_id varchar, owner varchar, origin varchar, usage_date date,"
    " charge_period_start timestamp, charge_period_end timestamp, consumed_unit varchar, billing_currency varchar, estimate_status varchar,"
    f" consumed_quantity {MONEY}, list_cost {MONEY}, contracted_cost {MONEY}, effective_cost {MONEY}, billed_cost {MONEY}",
    "usage_meters": "usage_period varchar, usage_date date, provider varchar, billing_account_id varchar, model varchar, service_tier varchar, team_id varchar,"
    f" project_id varchar, application varchar, environment varchar, activity varchar, meter varchar, quantity {MONEY}, list_cost {MONEY}, contracted_cost {MONEY}",
    "bill_lines": f"usage_period varchar, provider varchar, billing_account_id varchar, activity varchar, usage_date date, in_scope boolean, effective_cost {MONEY}",
    "billed_days": "usage_period varchar, billing_account_id varchar, usage_date date",
    "model_names": "usage_period varchar, provider varchar, model_as_logged varchar, model varchar, price_provider varchar, price_model varchar, rule varchar",
    "charge_gpu": "usage_period varchar, charge_id varchar, use varchar, team_id varchar, project_id varchar, serving_pool varchar, gpu_seconds decimal(38, 6), weight hugeint",
    "contract_use": "usage_period varchar, charge_id varchar, used hugeint, total hugeint",
    "serving_tokens": "usage_period varchar, usage_date date, serving_pool varchar, weighted_tokens decimal(38, 6)",
    "serving_coverage": "usage_period varchar, usage_date date, serving_pool varchar, unattributed_weighted_tokens decimal(38, 6)",
}  # fmt: skip


@dataclass(frozen=True)
class Billed:
    """One charge of account `acct`."""

    cost: str
    quantity: str | None = "1000000"
    model: str | None = "gpt"
    meter: str | None = "output"
    day: int = 1
    tier: str = "standard"
    unit: str | None = "Tokens"
    category: str = "Usage"
    activity: str = "inference"
    days: int = 1  # that the line covers
    currency: str = "USD"


@dataclass(frozen=True)
class Metered:
    cost: str | None
    quantity: str = "1000000"
    model: str | None = "gpt"
    meter: str = "output"
    day: int = 1
    tier: str = "standard"
    team: str = "a"


@dataclass
class Home:
    """The tables before RECONCILE's comparisons, in memory, and what the stage makes of them."""

    folder: Path
    close: str = "version: 1\n"
    billed_days: Iterable[int] = ()
    known: Iterable[str] = ("gpt", "mini")
    params: dict[str, Any] = field(default_factory=lambda: PARAMS)
    con: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)

    def __post_init__(self) -> None:
        if not self.folder.exists():
            policy.write_template(self.folder, "2026-09")
        (self.folder / "close.yaml").write_text(self.close)
        self.con.execute("pragma disable_optimizer; set threads = 1")  # faster for so few rows
        self.con.execute("attach ':memory:' as warehouse; use warehouse")
        self.con.execute(asset("sql", "macros.sql").read_text())
        policy.register(self.con, policy.load(self.folder))
        for name, columns in TABLES.items():
            self.con.execute(f"create table {name}({columns})")
        self.con.executemany("insert into model_names values ('2026-09', 'v', ?, ?, 'v', ?, 'list')", [(name,) * 3 for name in self.known])

    def run(self, *rows: Billed | Metered) -> list[dict[str, Any]]:
        for n, row in enumerate(rows):
            day = date(2026, 9, row.day)
            if isinstance(row, Billed):
                start = datetime(2026, 9, row.day)
                self.con.execute(
                    "insert into origin_charges by name select '2026-09' as usage_period, ? as charge_id, 'v' as provider, 'acct' as billing_account_id,"
                    " ? as charge_category, 'API' as service, ? as sku_meter, ? as model, ? as service_tier, ? as activity, 'bill' as origin, ? as usage_date,"
                    " ? as charge_period_start, ? as charge_period_end, ? as consumed_unit, ? as billing_currency, 'Final' as estimate_status,"
                    f" ?::{MONEY} as consumed_quantity, cost as list_cost, cost as contracted_cost, cost as effective_cost, cost as billed_cost"
                    f" from (select ?::{MONEY} as cost)",
                    [f"c{n:04}", row.category, row.meter, row.model, row.tier, row.activity, day, start, start + timedelta(days=row.days), row.unit,
                     row.currency, row.quantity, row.cost],
                )  # fmt: skip
            else:
                self.con.execute(
                    "insert into usage_meters values ('2026-09', ?, 'v', 'acct', ?, ?, ?, 'p', 'app', 'prod', 'inference', ?, ?, ?, ?)",
                    [day, row.model, row.tier, row.team, row.meter, row.quantity, row.cost, row.cost],
                )
        self.con.execute("insert into billed_days select distinct '2026-09', 'acct', usage_date from origin_charges")
        self.con.executemany("insert into billed_days values ('2026-09', 'acct', ?)", [[date(2026, 9, day)] for day in self.billed_days] or [[date(2026, 8, 1)]])
        by_name = {model.name: model for model in models.stage("reconcile")}
        for name in ("charge_comparisons", "usage_comparisons", "reconciliation", "charge_usage", "charge_portions"):
            models.replace_period(self.con, by_name[name], self.params)
        return self.rows("select * from reconciliation order by usage_date nulls last, model, meter, variant")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        cursor = self.con.execute(sql)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def portions(self) -> dict[str, Decimal]:
        return dict(self.con.execute("select portion, sum(billed_cost) from charge_portions group by all").fetchall())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "policy"


def state(folder: Path, *rows: Billed | Metered, **changes: Any) -> str:
    found = Home(folder, **changes).run(*rows)
    assert len(found) == 1, found
    return found[0]["state"]


def test_policy_tables_of_the_tolerances_are_there() -> None:
    assert "tolerances" in COLUMNS


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ((Billed("10"), Metered("10")), "matched"),
        ((Billed("10.40"), Metered("10")), "variance_price"),
        ((Billed("12.5", "1250000"), Metered("10")), "variance_quantity"),
        ((Billed("12.5", None, unit=None), Metered("10")), "variance_cost"),
        ((Billed("10.04", None, unit=None), Metered("10")), "matched"),
        ((Billed("10"),), "unmetered"),
        ((Billed("10", model="gpt-never-heard-of"),), "unmapped"),
        ((Metered("10"),), "unbilled"),
        ((Billed("10"), Metered(None)), "not_comparable"),
        ((Billed("10", currency="CNY"), Metered("10")), "not_comparable"),
        ((Billed("10", model=None, meter=None, unit=None, category="Tax", activity="tax"),), "non_usage"),
        ((Billed("10", model=None, meter="GB", unit="GB", activity="storage"),), "non_usage"),
    ],
)
def test_each_state(folder: Path, rows: tuple[Billed | Metered, ...], wanted: str) -> None:
    assert state(folder, *rows) == wanted


def test_calls_around_midnight_are_timing_and_lose_nothing(folder: Path) -> None:
    home = Home(folder)
    found = home.run(
        Billed("10", "1000000", day=1), Metered("12", "1200000", day=1), Billed("14", "1400000", day=2), Metered("12", "1200000", day=2),
        Billed("9", "900000", day=4), Metered("10", day=4),
    )  # fmt: skip
    assert [row["state"] for row in found] == ["timing", "timing", "variance_quantity"]
    assert home.portions() == {"metered": Decimal(33)}  # nothing of the second day is excess


@pytest.mark.parametrize(
    ("rows", "grain"),
    [
        ((Billed("3", tier="batch"), Billed("7"), Metered("3", tier="batch"), Metered("7")), ["meter and tier"] * 2),
        ((Billed("10", "2000000"), Metered("3", tier="batch"), Metered("7")), ["meter"]),
        ((Billed("3", tier="batch"), Billed("7"), Metered("10", "2000000")), ["meter"]),
        ((Billed("10", "2000000", meter=None), Metered("3", meter="input_uncached"), Metered("7")), ["model"]),
        ((Billed("3", meter="cache_read"), Billed("7"), Metered("10", "2000000")), ["model"]),  # this gateway knows no cache
        ((Billed("10", None, model=None, meter="CCU", unit="Units"), Metered("3", model="mini"), Metered("7")), ["account-day"]),
        ((Billed("10", "2000000", days=30), Metered("3", day=5), Metered("7", day=9)), ["meter-month"]),
        ((Billed("10", "2000000", meter=None, days=30), Metered("3", day=5, meter="cache_read"), Metered("7", day=9)), ["model-month"]),
        ((Billed("10", None, model=None, meter=None, unit=None, days=30), Metered("3", day=5, model="mini"), Metered("7", day=9)), ["account-month"]),
    ],
)
def test_the_grain_is_the_finest_that_both_sides_have(folder: Path, rows: tuple[Billed | Metered, ...], grain: list[str]) -> None:
    home = Home(folder)
    found = home.run(*rows)
    assert [row["grain_level"] for row in found] == grain and {row["state"] for row in found} == {"matched"}
    assert sum(row["billed_cost"] for row in found) == sum(row["metered_cost"] for row in found) == 10
    behind = home.rows("select charge_id, sum(metered_cost) as cost from charge_usage group by all")
    assert {one["charge_id"] for one in behind} == {one["charge_id"] for one in home.rows("select charge_id from origin_charges")}


def test_a_line_of_a_vendors_month_is_not_compared_with_a_part_of_it(folder: Path) -> None:
    """Its cost is shared by the calls of the period, and none of it is called unseen; a line within the period is compared."""
    calls = (Metered("3", day=5), Metered("3", day=9))
    weeks = {**PARAMS, "period_end": date(2026, 9, 29)}
    home = Home(folder, params=weeks)
    (row,) = home.run(Billed("10", "2000000", days=30), *calls)
    assert (row["state"], row["metered_cost"], row["price_variance"]) == ("not_comparable", None, None)
    assert row["treatment"] == "shared by the calls of the period: a line of several days reaches out of it"
    assert home.rows("select portion from charge_portions") == [{"portion": "metered"}]
    assert [one["cost"] for one in home.rows("select sum(metered_cost) as cost from charge_usage")] == [6]
    for params, line in ((weeks, Billed("6", "2000000", days=28)), (PARAMS, Billed("6", "2000000", days=30))):
        (row,) = Home(folder, params=params).run(line, *calls)
        assert (row["state"], row["metered_cost"]) == ("matched", 6)


def test_lines_of_others_on_a_shared_bill_complete_it(folder: Path) -> None:
    home = Home(folder)
    home.con.execute("insert into bill_lines values ('2026-09', 'v', 'acct', 'inference', '2026-09-01', false, 4), ('2026-09', 'v', 'acct', 'inference', '2026-09-01', true, 10)")
    home.run(Billed("10"), Billed("3", model=None, meter=None, unit=None, category="Tax", activity="tax"), Metered("10"))
    assert home.rows("select scope, state, billed_cost, treatment from reconciliation where scope <> 'in_scope'") == [
        {"scope": "out_of_scope", "state": "out_of_scope", "billed_cost": Decimal(4), "treatment": "not ours: counted, never charged"}
    ]
    assert home.con.execute("select scope, sum(billed_cost) from reconciliation group by all order by all").fetchall() == [("in_scope", 13), ("out_of_scope", 4)]


def test_what_a_finer_line_has_taken_is_not_compared_again(folder: Path) -> None:
    found = Home(folder).run(Billed("7"), Billed("3", None, model=None, meter="CCU", unit="Units"), Metered("7"), Metered("3", model="mini"))
    assert [(row["model"], row["grain_level"], row["metered_cost"], row["state"]) for row in found] == [
        ("gpt", "meter and tier", 7, "matched"), (None, "account-day", 3, "matched"),
    ]  # fmt: skip


def test_searches_beside_tokens_are_not_comparable_and_follow_the_use_of_their_model(folder: Path) -> None:
    home = Home(folder)
    found = home.run(Billed("7"), Billed("0.5", "50", meter="web_search", unit="Requests"), Metered("4", "600000", team="a"), Metered("3", "400000", team="b"))
    assert {row["meter"]: (row["state"], row["billed_quantity"]) for row in found} == {"output": ("matched", 1_000_000), "web_search": ("not_comparable", 50)}
    assert home.portions() == {"metered": Decimal("7.5")}
    assert {(row["charge_id"], row["team_id"]) for row in home.rows("from charge_usage")} == {(c, t) for c in ("c0000", "c0001") for t in "ab"}


def test_searches_of_a_model_that_nobody_called_are_unmetered(folder: Path) -> None:
    home = Home(folder)
    found = home.run(Billed("7"), Billed("0.5", "50", meter="web_search", unit="Requests", day=2), Metered("7"))
    assert [row["state"] for row in found] == ["matched", "unmetered"]
    assert home.portions() == {"metered": 7, "excess": Decimal("0.5")}


def test_tokens_of_a_kind_without_a_name_are_unmapped_and_never_a_match(folder: Path) -> None:
    home = Home(folder)
    found = home.run(Billed("7"), Billed("2", meter="telepathy tokens"), Metered("7"))
    assert {row["meter"]: row["state"] for row in found} == {"output": "matched", "telepathy tokens": "unmapped"}
    assert home.portions() == {"metered": 7, "excess": 2}


def test_beyond_the_bound_the_excess_is_a_portion(folder: Path) -> None:
    home = Home(folder)
    home.run(Billed("20", "2000000"), Metered("10"))
    assert home.portions() == {"metered": 11, "excess": 9}


def test_usage_of_a_day_without_a_bill_waits_for_it(folder: Path) -> None:
    found = Home(folder, billed_days=[2]).run(Metered("10", day=1), Metered("10", day=2))
    assert [(row["state"], row["is_billed_day"]) for row in found] == [("unbilled", False), ("unbilled", True)]
    assert found[0]["treatment"] != found[1]["treatment"]


DATED = """version: 1
differences:
  - {cost_percent: "2"}
  - {provider: v, to: 2026-09-02, cost_percent: "5"}
  - {provider: other, cost_percent: "50"}
"""


def test_tolerances_are_a_vendors_own_then_those_for_all_and_dated(folder: Path) -> None:
    rows = [row for day in (1, 2) for row in (Billed("10.40", day=day), Metered("10", day=day))]
    assert [row["state"] for row in Home(folder, DATED).run(*rows)] == ["matched", "variance_price"]
    rows = [Billed("10.20", day=2), Metered("10", day=2)]
    assert [row["state"] for row in Home(folder, DATED).run(*rows)] == ["matched"]
    assert [row["state"] for row in Home(folder).run(*rows)] == ["variance_price"]


@pytest.mark.parametrize(
    ("close", "said"),
    [
        ('version: 1\ndifferences: [{cost_percent: "2"}, {cost_percent: "3"}]\n', "differences of all vendors overlap"),
        ('version: 1\ndifferences: [{provider: v, from: 2026-10-01, to: 2026-09-01}]\n', "holds on no day"),
        ("version: 1\ndifferences: [{cost_percent: 101}]\n", "cost_percent"),
    ],
)
def test_unclear_tolerances_are_refused(folder: Path, close: str, said: str) -> None:
    policy.write_template(folder, "2026-09")
    (folder / "close.yaml").write_text(close)
    with pytest.raises(Exception, match=said):
        policy.load(folder)


AMOUNT = st.decimals(Decimal("0.000001"), Decimal(10_000_000), places=12, allow_nan=False).map(str)
COUNT = st.integers(1, 10**12).map(str)
MODEL, METER = st.sampled_from(["gpt", "mini", "odd"]), st.sampled_from(["input_uncached", "cache_read", "output"])
DAY, TIER = st.integers(1, 3), st.sampled_from(["standard", "standard", "batch"])
BILLED = st.builds(
    Billed, cost=AMOUNT, quantity=COUNT | st.none(), model=MODEL | st.none(), meter=METER | st.sampled_from([None, "web_search", "telepathy tokens"]),
    day=DAY, tier=TIER, unit=st.sampled_from(["Tokens", "Tokens", "Requests", None]), category=st.sampled_from(["Usage", "Usage", "Usage", "Tax"]),
    days=st.sampled_from([1, 1, 1, 30]), currency=st.sampled_from(["USD", "USD", "EUR"]),
)  # fmt: skip
METERED = st.builds(Metered, cost=AMOUNT | st.none(), quantity=COUNT, model=MODEL, meter=METER, day=DAY, tier=TIER, team=st.sampled_from(["a", "b"]))


@settings(max_examples=60, deadline=None)
@given(st.lists(BILLED | METERED, min_size=1, max_size=14))
def test_every_dollar_and_every_token_is_in_one_row_and_variances_are_exact(tmp_path_factory: pytest.TempPathFactory, rows: list[Billed | Metered]) -> None:
    home = Home(tmp_path_factory.getbasetemp() / "policy-of-variances")
    found = home.run(*rows)
    bills, usage = [r for r in rows if isinstance(r, Billed)], [r for r in rows if isinstance(r, Metered)]
    assert sum(row["billed_cost"] or 0 for row in found) == sum(Decimal(row.cost) for row in bills)
    assert sum(row["metered_quantity"] or 0 for row in found) == sum(Decimal(row.quantity) for row in usage)
    assert len({row["comparison_id"] for row in found}) == len(found)
    assert {row["state"] for row in found} <= STATES and all(row["treatment"] for row in found)
    for row in found:
        parts = [row[f"{name}_variance"] for name in ("quantity", "price", "cross")]
        sides = [row[name] for name in ("billed_cost", "metered_cost", "billed_quantity", "metered_quantity")]
        if None in sides:
            assert None in parts or sides[0] is not None
            continue
        bc, mc, bq, mq = map(Fraction, sides)
        assert sum(parts) == row["billed_cost"] - row["metered_cost"]
        assert abs(Fraction(parts[0]) - (bq - mq) * mc / mq) < PICO
        assert abs(Fraction(parts[1]) - (bc / bq - mc / mq) * mq) < PICO
        assert abs(Fraction(parts[2]) - (bc / bq - mc / mq) * (bq - mq)) < 2 * PICO
    billed: dict[str, Decimal] = defaultdict(Decimal)
    for row in home.rows("select charge_id, billed_cost from charge_portions"):
        billed[row["charge_id"]] += row["billed_cost"]
    assert billed == {f"c{n:04}": Decimal(row.cost) for n, row in enumerate(rows) if isinstance(row, Billed)}


@settings(max_examples=15, deadline=None)
@given(st.lists(BILLED | METERED, min_size=2, max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_nothing(tmp_path_factory: pytest.TempPathFactory, rows: list[Billed | Metered], chance: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "policy-of-variances"
    shuffled = list(rows)
    chance.shuffle(shuffled)
    key = lambda row: row["comparison_id"]  # noqa: E731
    assert sorted(Home(folder).run(*rows), key=key) == sorted(Home(folder).run(*shuffled), key=key)
