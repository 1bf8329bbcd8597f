"""What the FOCUS split columns need: AllocatedMethodId is the rule, and the ratios of a charge sum to exactly one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

from pipelines import warehouse
from pipelines.allocation import engine, rules

POLICY = """\
version: 1
support_teams: [platform]
pools: {shared: "kind = 'shared'", platform: "kind = 'platform'", rest: "true"}
rules:
  - id: shared
    pool: shared
    method: composite
    parts: [{share: 3333, driver: seats}, {share: 3333, driver: calls, cutoff: {below: 1500, to: others}}, {share: 3334, to: platform}]
    fallback: [{to: unallocated}]
  - id: platform
    pool: platform
    method: proportional
    driver: seats
    cap: {times: "0.1", of: "@allocated", excess: finance}
    fallback: [{to: unallocated}]
  - {id: own, pool: rest, method: direct, owner_column: owner, fallback: [{to: unallocated}]}
"""


def test_ratios_of_a_charge_sum_to_one_whatever_its_amount(tmp_path: Path) -> None:
    path = tmp_path / "allocation.yaml"
    path.write_text(POLICY, encoding="utf-8")
    con = warehouse.memory()
    con.execute(
        """
        create table portions as
        select *, date '2026-10-05' as usage_date, 'whole' as portion, 1::decimal(38, 12) as allocated_ratio
        from (values
            ('c1', 'shared', null, 100), ('c2', 'shared', null, -0.01), ('c3', 'platform', null, 77.7), ('c4', 'own', 'ads', 0),
            ('c5', 'own', null, 0.000000000001), ('c6', 'shared', null, 0)
        ) v(charge_id, kind, owner, cost)
        """
    )
    con.execute("create table seats as from (values ('ads', 3), ('search', 3), ('maps', 1)) v(target, weight)")
    con.execute("create table calls as from (values ('ads', 997), ('search', 2), ('maps', 1)) v(target, weight)")
    period = (date(2026, 10, 1), date(2026, 11, 1))
    measures = ["cost", "allocated_ratio"]
    engine.run(con, rules.load(path), portions="portions", measures=measures, period=period, driver=lambda name: name)
    sums = con.execute(
        "select charge_id, sum(allocated_ratio), count(*) filter (allocated_ratio < 0) from allocations group by charge_id order by 1"
    ).fetchall()
    assert sums == [(f"c{i}", Decimal(1), 0) for i in range(1, 7)]
    details = con.execute(
        "select rule_id, driver, driver_quantity, driver_total, target, allocated_ratio from allocations where charge_id = 'c1' and part = '1'"
        " order by target"
    ).fetchall()
    assert [(d[0], d[1], int(d[2]), int(d[3]), d[4]) for d in details] == [
        ("shared", "seats", 3, 7, "ads"),
        ("shared", "seats", 1, 7, "maps"),
        ("shared", "seats", 3, 7, "search"),
    ]
    assert [d[5] for d in details] == [Decimal("0.142842857143"), Decimal("0.047614285714"), Decimal("0.142842857143")]


LIMITED = """\
version: 1
support_teams: [platform]
pools: {platform: "kind = 'platform'", calls: "kind = 'calls'", rest: "true"}
rules:
  - id: platform
    pool: platform
    method: proportional
    driver: seats
    cap: {times: "0.1", of: "@allocated", excess: finance}
    fallback: [{to: unallocated}]
  - {id: calls, pool: calls, method: proportional, driver: calls, cutoff: {below: 500, to: platform}, fallback: [{to: unallocated}]}
  - {id: own, pool: rest, method: direct, owner_column: owner, fallback: [{to: unallocated}]}
"""


def test_a_cap_and_a_cutoff_say_so_in_every_row_they_change(tmp_path: Path) -> None:
    """Of the platform's 7 (6.5 of its own, 0.5 cut off from `calls`) ads would take 3 and search 4; they hold 44.5 and 30."""
    path = tmp_path / "allocation.yaml"
    path.write_text(LIMITED, encoding="utf-8")
    con = warehouse.memory()
    con.execute(
        """
        create table portions as
        select *, date '2026-10-05' as usage_date, 'whole' as portion
        from (values ('c1', 'own', 'ads', 20), ('c2', 'own', 'search', 5), ('c3', 'calls', null, 50), ('c4', 'platform', null, 6.5))
            v(charge_id, kind, owner, cost)
        """
    )
    con.execute("create table seats as from (values ('ads', 3), ('search', 4)) v(target, weight)")
    con.execute("create table calls as from (values ('ads', 98), ('search', 100), ('maps', 2)) v(target, weight)")
    period = (date(2026, 10, 1), date(2026, 11, 1))
    engine.run(con, rules.load(path), portions="portions", measures=["cost"], period=period, driver=lambda name: name)
    held = dict(con.execute("select target, sum(cost) from allocations where stage = 0 group by target").fetchall())
    assert held == {"ads": Decimal("44.5"), "search": Decimal(30)}
    told = con.execute(
        "select target, driver_quantity::int, sum(cost), reason from allocations where stage = 1 group by all order by target"
    ).fetchall()
    assert told == [
        ("ads", 3, Decimal(3), None),
        ("finance", 0, Decimal(1), "what is over 0.1 times what each team already carries"),
        ("search", 4, Decimal(3), "limited to 0.1 times what each team already carries"),
    ]
    passed = con.execute("select charge_id, target, driver_quantity::int, cost, reason from allocation_steps").fetchall()
    assert passed == [("c3", "platform", 2, Decimal("0.5"), "shares below 5% together")]
