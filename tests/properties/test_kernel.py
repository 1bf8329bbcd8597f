"""The kernel's promises, for any amount and weights; and the SQL of the engine does as the kernel does."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import warehouse
from pipelines.allocation import engine, kernel, rules

quick = settings(max_examples=200, deadline=None)
slow = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
amounts = st.integers(-(10**37), 10**37) | st.integers(-100, 100)
weights = st.lists(st.integers(0, 10**30) | st.integers(0, 5), min_size=1, max_size=8).filter(any)


def expected(amount: int, given: dict[str, Fraction]) -> dict[str, int]:
    """Largest remainder by its definition: floors first, then one unit each to who lost the largest fraction."""
    total = sum(given.values())
    exact = {key: abs(amount) * w / total for key, w in given.items()}
    parts = {key: x.numerator // x.denominator for key, x in exact.items()}
    queue = sorted(given, key=lambda key: (parts[key] - exact[key], key))
    for key in queue[: abs(amount) - sum(parts.values())]:
        parts[key] += 1
    return {key: part if amount >= 0 else -part for key, part in parts.items()}


@quick
@given(amounts, weights)
def test_parts_add_up_and_are_within_one_unit(amount: int, given: list[int]) -> None:
    parts = kernel.split(amount, given, range(len(given)))
    assert sum(parts) == amount
    assert all(abs(part - Fraction(amount * w, sum(given))) < 1 for part, w in zip(parts, given, strict=True))
    assert all(part == 0 for part, w in zip(parts, given, strict=True) if w == 0)
    assert dict(enumerate(parts)) == expected(amount, {i: Fraction(w) for i, w in enumerate(given)})  # type: ignore[arg-type]


@quick
@given(amounts, weights, st.fractions(min_value="1/1000000", max_value=10**12), st.randoms())
def test_order_scale_and_sign_change_nothing(amount: int, given: list[int], scale: Fraction, random) -> None:
    keys = list(range(len(given)))
    parts = dict(zip(keys, kernel.split(amount, given, keys), strict=True))
    random.shuffle(keys)
    assert dict(zip(keys, kernel.split(amount, [given[k] for k in keys], keys), strict=True)) == parts
    assert kernel.split(amount, [w * scale for w in given], range(len(given))) == list(
        parts[i] for i in range(len(given))
    )
    assert kernel.split(-amount, given, range(len(given))) == [-parts[i] for i in range(len(given))]


@pytest.mark.parametrize("bad", [[], [0, 0], [2, -1]])
def test_impossible_weights_are_an_error(bad: list[int]) -> None:
    with pytest.raises(ValueError):
        kernel.split(1, bad, range(len(bad)))


@quick
@given(st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=5), min_size=3, max_size=3))
def test_mutual_services_reach_the_fixed_point(table: list[list[int]]) -> None:
    """x = P x + F, checked by inserting the solution; every row sends something straight to an owner."""
    names = ["a", "b", "c"]
    flows = {}
    for i, row in enumerate(table):
        row = [0 if j == i else w for j, w in enumerate(row)]
        row[3] += 1
        flows[names[i]] = {key: Fraction(w, sum(row)) for key, w in zip([*names, "x", "y"], row, strict=True) if w}
    ends = kernel.reciprocal(flows)
    for center, sent in flows.items():
        assert sum(ends[center].values()) == 1
        for owner in ("x", "y"):
            passed = sum(share * ends[to].get(owner, 0) for to, share in sent.items() if to in names)
            assert ends[center].get(owner, 0) == sent.get(owner, 0) + passed


def test_centers_without_a_way_out_are_found() -> None:
    one, half = Fraction(1), Fraction(1, 2)
    assert kernel.without_exit({"a": {"b": one}, "b": {"a": one}, "c": {"a": half, "x": half}}) == {"a", "b"}
    assert kernel.without_exit({"a": {"b": one}, "b": {"c": one}, "c": {"x": one}}) == set()
    with pytest.raises(ValueError, match="no way out"):
        kernel.reciprocal({"a": {"b": one}, "b": {"a": one}})


@quick
@given(weights, weights, st.integers(0, 7))
def test_a_cap_moves_what_is_over_and_nothing_else(given: list[int], limits: list[int], exempt: int) -> None:
    shares = {i: Fraction(w, sum(given)) for i, w in enumerate(given)}
    most = {i: Fraction(w, sum(limits)) for i, w in enumerate(limits)}
    kept, over = kernel.capped(shares, most, exempt)
    assert sum(kept.values()) + over == 1 and over >= 0
    assert all(kept[i] == (shares[i] if i == exempt else min(shares[i], most.get(i, Fraction(0)))) for i in shares)


POLICY = """
version: 1
pools: {rest: "true"}
rules: [{id: r, pool: rest, by: [pot], method: proportional, driver: d, fallback: [{to: unallocated}]}]
"""
money = st.integers(-(10**37), 10**37) | st.integers(-(10**15), 10**15) | st.integers(-9, 9)
whole = st.integers(0, 10**35) | st.integers(0, 10**12) | st.integers(0, 3)


@slow
@given(
    st.lists(st.tuples(st.integers(0, 2), money, money), min_size=1, max_size=6),
    st.lists(st.lists(whole, min_size=1, max_size=6), min_size=3, max_size=3),
)
def test_the_engine_agrees_with_the_definition(
    tmp_path: Path, charges: list[tuple[int, int, int]], pots: list[list[int]]
) -> None:
    """Amounts and weights from nothing to beyond HUGEINT products, two measures, weights of 38 digits."""
    con = warehouse.memory()
    (tmp_path / "allocation.yaml").write_text(POLICY)
    policy = rules.load(tmp_path / "allocation.yaml")
    con.execute(
        "create table portions(charge_id varchar, portion varchar, usage_date date, pot varchar, a decimal(38, 12), b decimal(38, 12))"
    )
    for i, (pot, a, b) in enumerate(charges):
        con.execute(
            "insert into portions values (?, 'whole', date '2026-10-01', ?, ?, ?)",
            [f"c{i}", f"p{pot}", _money(a), _money(b)],
        )
    con.execute("create table d(pot varchar, target varchar, weight decimal(38, 1))")
    for i, members in enumerate(pots):
        for j, w in enumerate(members):
            con.execute("insert into d values (?, ?, ?)", [f"p{i}", f"t{j}", f"{w // 10}.{w % 10}"])
    period = (date(2026, 10, 1), date(2026, 11, 1))
    engine.run(con, policy, portions="portions", measures=["a", "b"], period=period, driver=lambda name: name)
    found = con.execute("select charge_id, target, a, b from allocations").fetchall()
    for i, (pot, a, b) in enumerate(charges):
        shares = {f"t{j}": Fraction(w) for j, w in enumerate(pots[pot]) if w} or {"unallocated": Fraction(1)}
        got = {target: (_pico(x), _pico(y)) for charge, target, x, y in found if charge == f"c{i}"}
        assert {key: value[0] for key, value in got.items()} == expected(a, shares)
        assert {key: value[1] for key, value in got.items()} == expected(b, shares)
    con.close()


def _money(pico: int) -> str:
    sign, digits = "-" if pico < 0 else "", f"{abs(pico):013d}"
    return f"{sign}{digits[:-12]}.{digits[-12:]}"


def _pico(money: Decimal) -> int:
    return int(f"{money:f}".replace(".", ""))


def test_quotients_are_exact_wherever_the_estimate_is_used_and_beyond(tmp_path: Path) -> None:
    """Amounts and totals of every size on both sides of each limit, exact multiples of the total and their neighbours."""
    rng = random.Random(20261001)
    con = warehouse.memory()
    (tmp_path / "allocation.yaml").write_text(POLICY)
    pots = [[1, 1], [1, 2**53 + 1], [10**35, 1, 10**35 - 1], [3, 3, 3], [10**22 + 7, 1]]
    pots += [[rng.randint(1, 10 ** rng.choice([1, 3, 5, 8, 15, 22, 36])) for _ in range(rng.randint(2, 7))] for _ in range(90)]
    charges: list[tuple[int, int, int]] = []
    for pot, members in enumerate(pots):
        total = sum(members)
        near = [2**48, 2**53, 2**62, 2**63, 2**64, int(engine.NEAR), int(engine.SAFE) // total, total, total * rng.randint(1, 10**6), 0]
        sizes = [size + by for size in near for by in (-1, 0, 1)] + [rng.randint(0, 10 ** rng.randint(1, 37)) for _ in range(20)]
        amounts = [rng.choice([1, -1]) * size for size in sizes if abs(size) < 10**37]
        charges += [(pot, amount, rng.choice([amount, amount, -amount, 0, rng.choice(amounts)])) for amount in amounts]
    rows = {
        "charge_id": [f"c{i}" for i in range(len(charges))],
        "pot": [f"p{pot}" for pot, _, _ in charges],
        "a": [_money(a) for _, a, _ in charges],
        "b": [_money(b) for _, _, b in charges],
    }
    con.register("given", pa.table(rows))
    con.execute(
        "create table portions as select 'whole' as portion, date '2026-10-01' as usage_date, * replace"
        " (a::decimal(38, 12) as a, b::decimal(38, 12) as b) from given"
    )
    flat = [(f"p{pot}", f"t{i}", str(w)) for pot, members in enumerate(pots) for i, w in enumerate(members)]
    con.register("weights", pa.table(dict(zip(("pot", "target", "weight"), map(list, zip(*flat, strict=True)), strict=True))))
    con.execute("create table d as select * replace (weight::hugeint as weight) from weights")
    period = (date(2026, 10, 1), date(2026, 11, 1))
    policy = rules.load(tmp_path / "allocation.yaml")
    engine.run(con, policy, portions="portions", measures=["a", "b"], period=period, driver=lambda name: name)
    big = dict(con.execute("select big, count(*) from alloc_cuts group by big").fetchall())
    assert big[True] > 100 and big[False] > 1000
    found: dict[str, list[tuple[int, int]]] = {}
    for charge, a, b in con.execute("select charge_id, a, b from allocations order by charge_id, target").fetchall():
        found.setdefault(charge, []).append((_pico(a), _pico(b)))
    for i, (pot, a, b) in enumerate(charges):
        keys = range(len(pots[pot]))
        assert found[f"c{i}"] == list(zip(kernel.split(a, pots[pot], keys), kernel.split(b, pots[pot], keys), strict=True)), charges[i]


def test_a_decimal_is_the_whole_number_of_its_digits() -> None:
    """On both sides of where it goes from DOUBLE to text, for every number of decimals."""
    rng = random.Random(1)
    con = warehouse.memory()
    for decimals in (0, 1, 3, 12, 15, 22, 23, 30, 38):
        digits = [2**48 + by for by in range(-200, 200)] + [rng.randint(0, 10 ** rng.randint(1, 37)) for _ in range(400)]
        texts = [f"{'-' * (n % 2)}{n // 10**decimals}.{n % 10**decimals:0{decimals}d}".rstrip(".") for n in digits if n < 10**38]
        if not decimals:
            texts = [text.partition(".")[0] for text in texts]
        con.register("given", pa.table({"text": texts}))
        wrong = con.execute(
            f"select text, units from (select text, {engine._units(f'text::decimal(38, {decimals})', decimals)} as units from given)"
            " where units <> replace(text, '.', '')::hugeint"
        ).fetchall()
        assert wrong == [], decimals
