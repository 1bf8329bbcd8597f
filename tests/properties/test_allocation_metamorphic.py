"""What must not change, or must change in step, when the same facts are told differently. Each test says exactly what holds."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipelines import warehouse
from pipelines.allocation import engine, rules

PERIOD = (date(2026, 10, 1), date(2026, 11, 1))
PICO = Decimal(10) ** -12
SEEDS = range(4)

POLICY = """\
version: 1
support_teams: [platform, network]
cycles: CYCLES
pools:
  idle: "kind = 'idle'"
  serving: "kind = 'serving'"
  platform: "kind = 'platform'"
  network: "kind = 'network'"
  rest: "true"
rules:
  - {id: serving, pool: serving, by: [cluster], window: day, method: proportional, driver: tokens, fallback: [{driver: seats}, {to: platform}]}
  - id: idle
    pool: idle
    by: [cluster]
    method: proportional
    driver: "@allocated"
    cap: {times: 2, of: "@allocated", excess: platform}
    cutoff: {below: 200, to: small-teams}
    fallback: [{to: network}]
  - id: platform
    pool: platform
    method: composite
    parts: [{share: 3333, driver: seats}, {share: 5667, driver: "@allocated"}, {share: 1000, to: network}]
    fallback: [{to: unallocated}]
  - {id: network, pool: network, method: fixed, weights: {ads: 3, search: 2, platform: 1}}
  - {id: own, pool: rest, method: direct, owner_column: owner, fallback: [{to: unallocated}]}
"""

Charge = dict[str, Any]
Weight = dict[str, Any]


class Facts:
    """Random charges and drivers of one month, and the policy that splits them."""

    def __init__(self, seed: int, policy: str = POLICY) -> None:
        rng = random.Random(seed)
        self.rng = rng
        cycles = rng.choice(["reciprocal", "step_down\norder: [platform, network]"])
        self.policy = policy.replace("CYCLES", cycles)
        if "step_down" in cycles:
            self.policy = self.policy.replace("weights: {ads: 3, search: 2, platform: 1}", "weights: {ads: 3, search: 2}")
        teams = ["ads", "search", "maps", "risk", "labs"]
        self.charges: list[Charge] = [
            {
                "charge_id": f"c{i:02d}",
                "usage_date": date(2026, 10, rng.randint(1, 31)),
                "kind": rng.choice(["idle", "serving", "serving", "platform", "network", "own", "own"]),
                "cluster": rng.choice(["a", "b", None]),
                "owner": rng.choice([*teams, None]),
                "cost": Decimal(rng.randint(-(10**14), 10**15)) * PICO,
                "list_cost": Decimal(rng.randint(0, 10**16)) * PICO,
            }
            for i in range(40)
        ]
        self.tokens: list[Weight] = [
            {"cluster": c, "usage_date": date(2026, 10, d), "target": t, "weight": Decimal(rng.randint(0, 10**9)) / 1000}
            for c in ("a", "b")
            for d in range(1, 32, 2)
            for t in rng.sample(teams, 3)
        ]
        self.seats: list[Weight] = [{"target": t, "weight": Decimal(rng.randint(1, 90))} for t in teams]

    def run(self, folder: Path) -> Counter[tuple[Any, ...]]:
        """(charge, rule, part, stage, target, level, cost, list_cost) of every row."""
        path = folder / "allocation.yaml"
        path.write_text(self.policy, encoding="utf-8")
        con = warehouse.memory()
        try:
            types = "charge_id varchar, usage_date date, kind varchar, cluster varchar, owner varchar, cost decimal(38, 12), list_cost decimal(38, 12)"
            con.execute(f"create table portions({types}, portion varchar default 'whole')")
            con.executemany(
                "insert into portions(charge_id, usage_date, kind, cluster, owner, cost, list_cost) values (?, ?, ?, ?, ?, ?, ?)",
                [list(c.values()) for c in self.charges],
            )
            con.execute("create table tokens(cluster varchar, usage_date date, target varchar, weight decimal(38, 6))")
            con.executemany("insert into tokens values (?, ?, ?, ?)", [list(w.values()) for w in self.tokens])
            con.execute("create table seats(target varchar, weight decimal(38, 6))")
            con.executemany("insert into seats values (?, ?)", [list(w.values()) for w in self.seats])
            measures = ["cost", "list_cost"]
            engine.run(con, rules.load(path), portions="portions", measures=measures, period=PERIOD, driver=lambda name: name)
            return Counter(
                con.execute(
                    "select charge_id, rule_id, part, stage, target, fallback_level, cost, list_cost from allocations"
                ).fetchall()
            )
        finally:
            con.close()


def per_charge(rows: Counter[tuple[Any, ...]]) -> dict[tuple[str, str], list[Decimal]]:
    sums: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for row, n in rows.items():
        for i, amount in enumerate(row[6:]):
            sums[row[0], row[4]][i] += n * amount
    return {key: amounts for key, amounts in sums.items() if any(amounts)}


def shuffled(rng: random.Random, rows: Sequence[Any]) -> list[Any]:
    return rng.sample(rows, len(rows))


pytestmark = pytest.mark.parametrize("seed", SEEDS)


def test_order_changes_no_row(seed: int, tmp_path: Path) -> None:
    facts = Facts(seed)
    before = facts.run(tmp_path)
    for name in ("charges", "tokens", "seats"):
        setattr(facts, name, shuffled(facts.rng, getattr(facts, name)))
    assert facts.run(tmp_path) == before


def test_scaling_a_driver_changes_no_row(seed: int, tmp_path: Path) -> None:
    facts = Facts(seed)
    before = facts.run(tmp_path)
    facts.tokens = [{**row, "weight": row["weight"] * 1000} for row in facts.tokens]
    facts.seats = [{**row, "weight": row["weight"] / 8} for row in facts.seats]
    assert facts.run(tmp_path) == before


def test_a_team_of_weight_zero_changes_no_row(seed: int, tmp_path: Path) -> None:
    facts = Facts(seed)
    before = facts.run(tmp_path)
    facts.tokens += [{"cluster": c, "usage_date": date(2026, 10, 3), "target": "nobody", "weight": 0} for c in ("a", "b")]
    facts.seats += [{"target": team, "weight": 0} for team in ("nobody", "network")]
    assert facts.run(tmp_path) == before


def test_a_charge_of_zero_changes_no_other_row_and_costs_nobody_anything(seed: int, tmp_path: Path) -> None:
    facts = Facts(seed)
    before = facts.run(tmp_path)
    for i, kind in enumerate(["idle", "serving", "platform", "network", "own"]):
        zero = {**facts.charges[0], "charge_id": f"z{i}", "kind": kind, "cost": Decimal(0), "list_cost": Decimal(0)}
        facts.charges.append(zero)
    after = facts.run(tmp_path)
    assert Counter({row: n for row, n in after.items() if row[0][0] != "z"}) == before
    assert all(not row[6] and not row[7] for row in after if row[0][0] == "z")


def test_two_charges_for_one_cost_everybody_the_same_but_for_the_rounding_of_each(seed: int, tmp_path: Path) -> None:
    """Weights that no rounding reaches (drivers, fixed): the two together are, for each rule and owner, less than two
    pico-units from the one, because each of the three is rounded to a neighbour of its exact share. Weights that come from
    amounts (`@allocated`, caps) move with that rounding, by as little: a millionth of a cent covers every owner here.
    """
    facts = Facts(seed)
    before = facts.run(tmp_path)
    halves = []
    for charge in facts.charges:
        first = Decimal(facts.rng.randint(0, int(abs(charge["cost"]) / PICO))).scaleb(-12).copy_sign(charge["cost"])
        halves.append({**charge, "cost": first})
        rest = {"charge_id": charge["charge_id"] + "+", "cost": charge["cost"] - first, "list_cost": Decimal(0)}
        halves.append({**charge, **rest})
    facts.charges = halves
    one, two = defaultdict(Decimal), defaultdict(Decimal)
    stage = {row[1]: row[3] for row in before}
    for rows, sums in ((before, one), (facts.run(tmp_path), two)):
        for row, n in rows.items():
            sums[row[0].rstrip("+"), row[1], row[2], row[4]] += n * row[6]
    for key in one.keys() | two.keys():
        room = 2 * PICO if stage.get(key[1]) == 0 else Decimal("0.00000001")
        assert abs(one[key] - two[key]) < room, key


def test_splitting_a_rule_by_dates_changes_no_cost_by_day(seed: int, tmp_path: Path) -> None:
    """Two versions of one rule with `window: day`: the same rows, each under the version of its day."""
    facts = Facts(seed)
    before = facts.run(tmp_path)
    line = next(line for line in POLICY.splitlines() if "id: serving" in line)
    versions = [
        line.replace("id: serving", "id: serving-1, effective: {to: 2026-10-16}"),
        line.replace("id: serving", "id: serving-2, effective: {from: 2026-10-16}"),
    ]
    facts.policy = facts.policy.replace(line, "\n".join(versions))
    after = facts.run(tmp_path)
    assert Counter({(row[0], row[1].split("-")[0], *row[2:]): n for row, n in after.items()}) == before
    days = {charge["charge_id"]: charge["usage_date"] for charge in facts.charges}
    for row in after:
        if row[1].startswith("serving-"):
            assert (days[row[0]] >= date(2026, 10, 16)) == (row[1] == "serving-2")


def test_another_name_for_a_team_moves_only_units_between_equal_remainders(seed: int, tmp_path: Path) -> None:
    """A name decides nothing but who of equal remainders comes first, which is one pico-unit for each charge, rule and part;
    later weights that come from amounts follow it by as little. Here the new name sorts last, so that it does decide.
    """
    facts = Facts(seed)
    before = facts.run(tmp_path)
    name = {"ads": "zebra"}
    for rows, key in ((facts.tokens, "target"), (facts.seats, "target"), (facts.charges, "owner")):
        for row in rows:
            row[key] = name.get(row[key], row[key])
    facts.policy = facts.policy.replace("{ads: 3", "{zebra: 3")
    one = per_charge(Counter({(*row[:4], name.get(row[4], row[4]), *row[5:]): n for row, n in before.items()}))
    two = per_charge(facts.run(tmp_path))
    for key in one.keys() | two.keys():
        for a, b in zip(one.get(key, [0, 0]), two.get(key, [0, 0]), strict=True):
            assert abs(a - b) < Decimal("0.0000000001"), key


def test_the_opposite_sign_gives_the_opposite_rows(seed: int, tmp_path: Path) -> None:
    """Where weights do not come from amounts; a cap is only for pots above zero, `@allocated` only for owners above."""
    uncapped = POLICY.replace('    cap: {times: 2, of: "@allocated", excess: platform}\n', "").replace('"@allocated"', "seats")
    facts = Facts(seed, uncapped)
    before = facts.run(tmp_path)
    facts.charges = [{**c, "cost": -c["cost"], "list_cost": -c["list_cost"]} for c in facts.charges]
    assert facts.run(tmp_path) == Counter({(*row[:6], -row[6], -row[7]): n for row, n in before.items()})


def test_measures_do_not_look_at_each_other(seed: int, tmp_path: Path) -> None:
    """Only the first measure decides; another value of the second moves no digit of the first."""
    facts = Facts(seed)
    before = facts.run(tmp_path)
    facts.charges = [{**c, "list_cost": c["list_cost"] * 3 - 5} for c in facts.charges]
    after = facts.run(tmp_path)
    assert Counter({row[:7]: n for row, n in after.items()}) == Counter({row[:7]: n for row, n in before.items()})
