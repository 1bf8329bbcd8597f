"""What moved a charge: volume, rate, mix, new and uncounted parts add up to the change, on hand-made months."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import models
from pipelines.home import asset

PARTS = ("volume_amount", "rate_amount", "mix_amount", "new_amount", "other_amount")
Item = tuple[str, str, str | None, str | None, Any, Any]  # period, category, meter, unit, quantity, cost


def changes(items: Iterable[Item], versions: dict[str, int] | None = None, fx: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """The mart over one team's line `gpt-5` per category; an item is a ledger row of its own charge."""
    con = duckdb.connect()
    con.execute(asset("sql", "macros.sql").read_text(encoding="utf-8"))
    con.execute("create table periods as select * from (values ('2026-08', date '2026-08-01', date '2026-09-01'),"
                " ('2026-09', date '2026-09-01', date '2026-10-01'), ('2026-10', date '2026-10-01', date '2026-11-01')) t(period, starts_on, ends_on)")
    con.execute("create table charges(charge_id varchar, sku_meter varchar)")
    con.execute("create table ledger(period varchar, version integer, charge_id varchar, line_id varchar, category varchar, consumed_unit varchar,"
                " consumed_quantity decimal(38, 12), chargeback_cost decimal(38, 12))")
    rates = fx or {}
    for number, (period, category, meter, unit, quantity, cost) in enumerate(items):
        con.execute("insert into charges values (?, ?)", [f"c{number}", meter])
        values = [period, (versions or {}).get(period, 0), f"c{number}", f"{category} {period}", category, unit]
        con.execute("insert into ledger values (?, ?, ?, ?, ?, ?, ?::varchar::decimal(38, 12), ?::varchar::decimal(38, 12))", [*values, quantity and str(quantity), str(cost)])
    con.execute("create table rates as select unnest($periods) as period, unnest($rates)::decimal(38, 12) as fx_rate", {"periods": list(rates), "rates": list(rates.values())})
    con.execute(
        """
        create table statement_lines as
        select l.period, l.version, 'search' as team_id, l.category, 'OpenAI API' as service, 'gpt-5' as model, 'inference' as activity, l.line_id,
            round(sum(l.chargeback_cost) * coalesce(any_value(r.fx_rate), 1), 2)::decimal(18, 2) as amount, 'USD' as currency,
            coalesce(any_value(r.fx_rate), 1)::decimal(38, 12) as fx_rate
        from ledger l left join rates r on r.period = l.period group by all
        """
    )  # fmt: skip
    cursor = con.execute(next(m.sql for m in models.stage("marts") if m.name == "cost_changes") + " order by period, version, category")
    names = [column[0] for column in cursor.description]
    found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for one in found:
        assert one["amount"] - one["prior_amount"] == one["change"] == sum(one[part] for part in PARTS), one
    return found


def october(items: Iterable[Item], **more: Any) -> dict[str, Any]:
    (one,) = [one for one in changes(items, **more) if one["period"] == "2026-10"]
    return one


def parts(one: dict[str, Any]) -> list[str]:
    return [f"{one[part]:.2f}" for part in PARTS]


def test_volume_rate_and_mix_of_two_meters() -> None:
    """Input 100 at 1 and output 50 at 4; then input 150 at 1.10 and output 50 at 3.
    Volume: 300 x 50 / 150 = 100. Rate: (165 - 150) + (150 - 200) = -35. Mix: 15 - 100 + 35 = -50.
    """
    one = october([("2026-09", "direct", "input", "Tokens", 100, 100), ("2026-09", "direct", "output", "Tokens", 50, 200),
                   ("2026-10", "direct", "input", "Tokens", 150, 165), ("2026-10", "direct", "output", "Tokens", 50, 150)])  # fmt: skip
    assert parts(one) == ["100.00", "-35.00", "-50.00", "0.00", "0.00"]
    assert (one["quantity"], one["prior_quantity"], one["unit"]) == (200, 150, "Tokens")


def test_one_meter_has_no_mix() -> None:
    assert parts(october([("2026-09", "direct", "h", "Hours", 10, 20), ("2026-10", "direct", "h", "Hours", 15, 45)])) == ["10.00", "15.00", "0.00", "0.00", "0.00"]


def test_what_began_is_new_and_what_ended_is_volume() -> None:
    assert parts(october([("2026-10", "direct", "h", "Hours", 10, "20.004")])) == ["0.00", "0.00", "0.00", "20.00", "0.00"]
    ended = october([("2026-09", "direct", "h", "Hours", 10, 20), ("2026-10", "direct", "h", "Hours", 0, 0)])
    assert parts(ended) == ["-20.00", "0.00", "0.00", "0.00", "0.00"]


def test_a_line_that_ended_has_a_row_without_an_amount() -> None:
    found = [one for one in changes([("2026-09", "direct", "h", "Hours", 10, 20), ("2026-10", "shared", "h", "Hours", 1, 2)]) if one["period"] == "2026-10"]
    assert [(one["category"], one["amount"], one["prior_amount"], *parts(one)) for one in found] == [
        ("direct", 0, 20, "-20.00", "0.00", "0.00", "0.00", "0.00"),
        ("shared", 2, 0, "0.00", "0.00", "0.00", "2.00", "0.00"),
    ]


def test_a_meter_that_begins_within_a_line_is_mix() -> None:
    """100 at 1; then 100 at 1 and 100 of cache reads at 0.10: twice the volume, at the price of before, less 90 for the cheaper mix."""
    one = october([("2026-09", "direct", "input", "Tokens", 100, 100), ("2026-10", "direct", "input", "Tokens", 100, 100), ("2026-10", "direct", "cache_read", "Tokens", 100, 10)])
    assert parts(one) == ["100.00", "0.00", "-90.00", "0.00", "0.00"]


def test_what_is_not_counted_is_named_and_never_divided() -> None:
    fee = [("2026-09", "shared", None, None, None, 50), ("2026-10", "shared", None, None, None, "62.50")]
    assert parts(october(fee)) == ["0.00", "0.00", "0.00", "0.00", "12.50"]
    zero = [("2026-09", "direct", "h", "Hours", 0, 7), ("2026-10", "direct", "h", "Hours", 0, 9)]
    assert parts(october(zero)) == ["0.00", "0.00", "0.00", "0.00", "2.00"]
    below = [("2026-09", "direct", "h", "Hours", "0.0001", 7), ("2026-10", "direct", "h", "Hours", 5, 9)]
    assert parts(october(below)) == ["0.00", "0.00", "0.00", "0.00", "2.00"]


def test_credits_and_corrections_are_not_called_volume() -> None:
    credit = [("2026-09", "direct", "h", "Hours", 10, 20), ("2026-10", "direct", "h", "Hours", 12, -4)]
    assert parts(october(credit)) == ["0.00", "0.00", "0.00", "0.00", "-24.00"]
    back = [("2026-09", "direct", "h", "Hours", 10, 20), ("2026-10", "direct", "h", "Hours", -3, -6)]
    assert parts(october(back)) == ["0.00", "0.00", "0.00", "0.00", "-26.00"]
    assert parts(october([("2026-10", "adjustment", "h", "Hours", 4, 8)])) == ["0.00", "0.00", "0.00", "0.00", "8.00"]


def test_a_free_month_that_is_charged_now_is_a_rate() -> None:
    assert parts(october([("2026-09", "direct", "h", "Hours", 10, 0), ("2026-10", "direct", "h", "Hours", 20, 30)])) == ["0.00", "30.00", "0.00", "0.00", "0.00"]


def test_units_of_one_line_are_compared_apart() -> None:
    one = october([("2026-09", "direct", "gb", "GB-Hours", 10, 10), ("2026-09", "direct", "q", "Queries", 10, 100),
                   ("2026-10", "direct", "gb", "GB-Hours", 20, 20), ("2026-10", "direct", "q", "Queries", 10, 90)])  # fmt: skip
    assert parts(one) == ["10.00", "-10.00", "0.00", "0.00", "0.00"]
    assert one["unit"] is None and one["quantity"] is None


def test_the_month_before_counts_in_its_latest_version_and_at_its_own_exchange_rate() -> None:
    items = [("2026-09", "direct", "h", "Hours", 10, 10), ("2026-10", "direct", "h", "Hours", 10, 10)]
    assert parts(october(items, versions={"2026-09": 2}, fx={"2026-09": "1.10", "2026-10": "1.20"})) == ["0.00", "1.00", "0.00", "0.00", "0.00"]


def test_cents_that_rounding_leaves_go_to_the_largest_part() -> None:
    one = october([("2026-09", "direct", "a", "Tokens", 3, "0.994"), ("2026-09", "direct", "b", "Tokens", 3, "1.004"),
                   ("2026-10", "direct", "a", "Tokens", 7, "2.494"), ("2026-10", "direct", "b", "Tokens", 2, "0.994")])  # fmt: skip
    assert one["change"] == Decimal("1.49")


def test_very_large_months_do_not_overflow() -> None:
    one = october([("2026-09", "direct", "a", "Tokens", 10**13, 10**8), ("2026-10", "direct", "a", "Tokens", 3 * 10**13, 2 * 10**8)])
    assert parts(one) == ["200000000.00", "-100000000.00", "0.00", "0.00", "0.00"]


_item = st.tuples(
    st.sampled_from(["2026-08", "2026-09", "2026-10"]), st.sampled_from(["direct", "shared", "adjustment"]), st.sampled_from(["input", "output", None]),
    st.sampled_from(["Tokens", "Hours", None]), st.none() | st.decimals("-1000", "100000", places=3), st.decimals("-500", "50000", places=6),
)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.lists(_item, max_size=12))
def test_the_parts_always_add_up_to_the_change(items: list[Item]) -> None:
    changes(items)  # checks every row
