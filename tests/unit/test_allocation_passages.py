"""What support teams that serve each other send around: gross, exact, and in balance for every charge and team."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import duckdb

from pipelines import warehouse
from pipelines.allocation import engine, kernel, rules

POLICY = """\
version: 1
support_teams: [platform, watching, network]
cycles: reciprocal
pools: {platform: "kind = 'platform'", watching: "kind = 'watching'", network: "kind = 'network'", rest: "true"}
rules:
  - {id: p, pool: platform, method: fixed, weights: {ads: 6, watching: 1}}
  - {id: w, pool: watching, method: composite, parts: [{share: 3000, driver: seats}, {share: 7000, to: network}], fallback: [{to: unallocated}]}
  - {id: n, pool: network, method: fixed, weights: {platform: 2, watching: 1}}
  - {id: rest, pool: rest, method: to, to: platform}
"""
PICO = Decimal("0.000000000001")


def run(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    path = tmp_path / "allocation.yaml"
    path.write_text(POLICY, encoding="utf-8")
    con = warehouse.memory()
    con.execute(
        """
        create table portions as
        select *, date '2026-10-05' as usage_date, 'whole' as portion
        from (values ('c1', 'platform', 1000), ('c2', 'network', -0.000000000001), ('c3', 'rest', 77.77), ('c4', 'watching', 0.01))
            v(charge_id, kind, cost)
        """
    )
    con.execute("create table seats as from (values ('ads', 1), ('search', 2)) v(target, weight)")
    period = (date(2026, 10, 1), date(2026, 11, 1))
    engine.run(con, rules.load(path), portions="portions", measures=["cost"], period=period, driver=lambda name: name)
    return con


def test_what_arrives_at_a_team_is_what_it_passes_on(tmp_path: Path) -> None:
    con = run(tmp_path)
    outside = {("c1", "platform"): Decimal(1000), ("c2", "network"): -PICO, ("c3", "platform"): Decimal("77.77"), ("c4", "watching"): Decimal("0.01")}
    left: dict[tuple[str, str], Decimal] = defaultdict(Decimal, outside)
    for charge, source, target, cost in con.execute("select charge_id, cost_pool, target, cost from allocation_steps where cost_pool <> 'rest'").fetchall():
        left[charge, source] -= cost
        left[charge, target] += cost
    for charge in ("c1", "c2", "c3", "c4"):
        assert left[charge, "network"] == 0  # it has no owners: all that arrives goes to the other two
        owned = con.execute("select sum(cost) from allocations where charge_id = ?", [charge]).fetchall()[0][0]
        assert left[charge, "platform"] + left[charge, "watching"] == owned


def test_amounts_are_gross_and_less_than_a_unit_from_the_exact_ones(tmp_path: Path) -> None:
    """Of 1 from outside the platform passes 1 + 7/150 + ...: x = 1 / (1 - 1/7 * 7/10 * 2/3 / (1 - 7/10 * 1/3))."""
    con = run(tmp_path)
    back = Fraction(1, 7) * Fraction(7, 10) * Fraction(2, 3) / (1 - Fraction(7, 10) * Fraction(1, 3))
    through = 1000 / (1 - back)
    found = con.execute("select cost from allocation_steps where charge_id = 'c1' and cost_pool = 'platform' and target = 'watching'").fetchall()
    assert len(found) == 1 and abs(Fraction(found[0][0]) - through / 7) < Fraction(PICO)
    told = con.execute("select distinct rule_id, part, driver_quantity::int, driver_total::int from allocation_steps where cost_pool = 'network' order by all").fetchall()
    assert told == [("n", "", 1, 3), ("n", "", 2, 3)]


def test_flows_are_rounded_so_that_they_balance() -> None:
    ends = [("a", "b"), ("b", "a"), ("a", "out"), ("b", "out")]
    assert kernel.whole_flows(ends, [10, 20, 30, 40], 10) == [1, 2, 3, 4]
    amounts = [15, 25, 40, 50]  # in tenths; 3 arrive at a, 6 at b
    whole = kernel.whole_flows(ends, amounts, 10)
    assert 3 + whole[1] == whole[0] + whole[2] and 6 + whole[0] == whole[1] + whole[3]
    assert all(abs(10 * w - a) < 10 for w, a in zip(whole, amounts, strict=True))


def test_visits_count_what_comes_back() -> None:
    flows = {"a": {"b": Fraction(1, 2), "own": Fraction(1, 2)}, "b": {"a": Fraction(1, 2), "own": Fraction(1, 2)}}
    assert kernel.visits(flows) == {"a": {"a": Fraction(4, 3), "b": Fraction(2, 3)}, "b": {"a": Fraction(2, 3), "b": Fraction(4, 3)}}
