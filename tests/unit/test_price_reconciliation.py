"""What a vendor billed against its own usage report at our prices: states, grains and exact variances on hand-made rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipelines import models, policy
from pipelines.prices import METERS
from tests.unit.test_reconciliation import PARAMS, Billed, Home, Metered

MONEY = "decimal(38, 12)"
TABLES = {
    "provider_usage": "usage_period varchar, provider varchar, billing_account_id varchar, model varchar, region varchar, service_tier varchar,"
    f" context_window varchar, usage_date date, meter varchar, quantity {MONEY}",
    "reported_days": "usage_period varchar, report varchar, provider varchar, billing_account_id varchar, usage_date date",
    "rates": "usage_period varchar, contract_id varchar, provider varchar, model varchar, service_tier varchar, region varchar, valid_from date, valid_to date,"
    " minute_from integer, minute_to integer, input_gt bigint, input_le bigint, "
    + ", ".join(f"{kind}_{meter} decimal(24, 18)" for kind in ("list", "contracted") for meter in METERS),
}  # fmt: skip
PRICES = {"input_uncached": "0.00001", "cache_read": "0.000001", "output": "0.00001"}  # 10, 1 and 10 dollars a million


@dataclass(frozen=True)
class Reported:
    """One row of a vendor's usage report."""

    quantity: str = "1000000"
    model: str | None = "gpt"
    meter: str = "output"
    day: int = 1
    tier: str | None = None
    window: str | None = None


def rate(home: Home, prices: dict[str, str] = PRICES, contracted: dict[str, str] | None = None, **said: Any) -> None:
    row = {
        "usage_period": "2026-09", "contract_id": "", "provider": "v", "model": "gpt", "service_tier": "standard", "region": "", "valid_from": date(2026, 1, 1),
        "valid_to": date(9999, 1, 1), "minute_from": 0, "minute_to": 1440, "input_gt": -1, "input_le": 2**63 - 1,
        **{f"list_{meter}": price for meter, price in prices.items()},
        **{f"contracted_{meter}": price for meter, price in (contracted or prices).items()}, **said,
    }  # fmt: skip
    home.con.execute(f"insert into rates({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values()))


def priced(folder: Path, *rows: Billed | Metered | Reported, days: tuple[int, ...] = (1,), rates: bool = True, contracts: str = "") -> tuple[Home, list[dict[str, Any]]]:
    home = Home(folder)
    if contracts:
        (folder / "sources.yaml").write_text("version: 1\nbilling:\n  - {name: bills, format: focus, provider: v, legal_entity: MAIN}\n")
        (folder / "contracts.yaml").write_text("version: 1\n" + contracts)
        policy.register(home.con, policy.load(folder))
    for name, columns in TABLES.items():
        home.con.execute(f"create table {name}({columns})")
    if rates:
        rate(home)
    for row in rows:
        if isinstance(row, Reported):
            home.con.execute("insert into provider_usage values ('2026-09', 'v', 'acct', ?, null, ?, ?, ?, ?, ?)", [row.model, row.tier, row.window, date(2026, 9, row.day), row.meter, row.quantity])
    home.con.executemany("insert into reported_days values ('2026-09', 'completions', 'v', 'acct', ?)", [[date(2026, 9, day)] for day in days])
    home.run(*(row for row in rows if not isinstance(row, Reported)))
    return home, compared(home)


def compared(home: Home) -> list[dict[str, Any]]:
    models.replace_period(home.con, next(m for m in models.stage("reconcile") if m.name == "price_reconciliation"), PARAMS)
    return home.rows("select * from price_reconciliation order by usage_date, model, meter")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "policy"


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ((Billed("10"), Reported()), "matched"),
        ((Billed("11"), Reported()), "variance_price"),
        ((Billed("12", "1200000"), Reported()), "variance_quantity"),
        ((Billed("12", None, unit=None), Reported()), "variance_cost"),
        ((Billed("10.04", None, unit=None), Reported()), "matched"),
        ((Billed("10"),), "unreported"),
        ((Reported(), Billed("3", model=None, meter=None, unit=None, category="Tax", activity="tax")), "unbilled"),
        ((Billed("10", model="mini"), Reported(model="mini")), "unpriced"),
        ((Billed("10", currency="CNY"), Reported()), "not_comparable"),
        ((Billed("10", days=30), ), "not_comparable"),
        ((Billed("0.5", "50", meter="web_search", unit="Requests"),), "not_comparable"),
        ((Billed("6", None, meter=None, unit=None), Reported("600000", meter="input")), "matched"),
        ((Billed("5", None, meter=None, unit=None), Reported("600000", meter="input")), "not_comparable"),  # some of it was cached
    ],
)  # fmt: skip
def test_each_state(folder: Path, rows: tuple[Billed | Reported, ...], wanted: str) -> None:
    assert [row["state"] for row in priced(folder, *rows)[1]] == [wanted]


def test_only_days_of_both_a_bill_and_a_report_are_compared(folder: Path) -> None:
    rows = [Billed("10", day=1), Reported(day=1), Billed("10", day=2), Reported(day=3)]
    assert [row["usage_date"].day for row in priced(folder, *rows, days=(1, 3))[1]] == [1]


def test_variances_add_up_exactly(folder: Path) -> None:
    """1.2 of what was reported, at 1.1 of the price."""
    _, (found,) = priced(folder, Billed("13.2", "1200000"), Reported())
    assert (found["expected_cost"], found["billed_cost"]) == (10, Decimal("13.2"))
    assert [found[f"{name}_variance"] for name in ("quantity", "price", "cross")] == [2, 1, Decimal("0.2")]


@pytest.mark.parametrize(
    ("rows", "grain"),
    [
        ((Billed("10"), Billed("0.5", "500000", meter="cache_read"), Reported(), Reported("500000", meter="cache_read")), ["meter", "meter"]),
        ((Billed("10"), Billed("5", "500000", meter="reasoning"), Reported("1500000")), ["model"]),  # the report has reasoning in its output
        ((Billed("15", None, model=None, meter=None, unit=None), Reported(), Reported("500000", meter="input_uncached")), ["account-day"]),
    ],
)
def test_the_grain_is_the_finest_that_both_sides_have(folder: Path, rows: tuple[Billed | Reported, ...], grain: list[str]) -> None:
    _, found = priced(folder, *rows)
    assert [(row["grain_level"], row["state"]) for row in found] == [(level, "matched") for level in grain]
    assert sum(row["billed_cost"] for row in found) == sum(Decimal(row.cost) for row in rows if isinstance(row, Billed))


def test_a_report_without_models_has_no_price_and_says_how_much(folder: Path) -> None:
    _, found = priced(folder, Billed("15", "1500000"), Reported(model=None), Reported("500000", model=None, meter="input_uncached"))
    assert [(row["grain_level"], row["state"], row["provider_quantity"], row["billed_cost"]) for row in found] == [("account-day", "unpriced", 1_500_000, 15)]


def test_what_has_no_price_keeps_its_quantity(folder: Path) -> None:
    """Seconds of speech: no list has their price, and the report tells of them all the same."""
    _, found = priced(folder, Billed("10"), Reported(), Reported("90.5", meter="seconds", model="whisper"), Reported("3", meter="requests"))
    assert [(row["meter"], row["state"], row["provider_quantity"], row["expected_cost"], row["reason"]) for row in found] == [
        ("output", "matched", 1_000_000, 10, None), ("seconds", "unpriced", Decimal("90.5"), None, "no price of seconds"),
    ]  # fmt: skip


def test_tiers_and_windows_of_the_report_have_their_price(folder: Path) -> None:
    home, _ = priced(folder, Billed("5", tier="batch"), Billed("20", day=2), Reported(tier="batch"), Reported(day=2, window="200k-1M"), Billed("20", day=3), Reported(day=3), days=(1, 2, 3))
    rate(home, {"output": "0.000005"}, service_tier="batch")
    rate(home, {"output": "0.00002"}, input_gt=200_000)
    assert [(row["expected_cost"], row["state"]) for row in compared(home)] == [(5, "matched"), (20, "matched"), (10, "not_comparable")]


def test_the_price_is_agreed_or_listed_and_never_the_bills_own(folder: Path) -> None:
    """Where the rates took the bill's price the list's is compared; where a price was agreed, the agreed one."""
    home, _ = priced(folder, Billed("12"), Reported(), rates=False, contracts='private_prices: [{id: p, provider: v, model: gpt, meter: output, per_million: "8"}]\n')
    rate(home, contracted={"output": "0.000012"})
    assert [(row["expected_cost"], row["state"]) for row in compared(home)] == [(10, "variance_price")]
    home.con.execute("delete from rates")
    rate(home, contracted={"output": "0.000008"}, contract_id="p")
    assert [(row["expected_cost"], row["price_variance"]) for row in compared(home)] == [(8, 4)]
