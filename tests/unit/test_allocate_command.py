"""`apportion allocate` on plain CSV: the published grammar, worked examples of other systems, and refusals on one line."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

GRAMMAR = """
version: 1
support_teams: [platform, observability]
cycles: reciprocal
pools:
  index_maintenance: "kind = 'index_maintenance'"
  gpu_idle: "kind = 'gpu_idle'"
  platform: "kind = 'platform_fee'"
  observability: "kind = 'observability_fee'"
  rest: "true"
rules:
  - id: index-maintenance
    pool: index_maintenance
    by: [vector_index_id]
    method: proportional
    driver: index_queries
    eligible: "target <> 'sandbox'"
    fallback: [{driver: index_vectors}, {even: index_subscribers}, {to: platform}]
  - {id: idle-until-mid-october, pool: gpu_idle, effective: {to: 2026-10-16}, method: to, to: platform}
  - id: idle-to-reservations
    pool: gpu_idle
    effective: {from: 2026-10-16}
    by: [serving_pool]
    method: proportional
    driver: reserved_gpu_hours
    fallback: [{driver: weighted_tokens}, {to: platform}]
  - id: platform-overhead
    pool: platform
    method: composite
    parts: [{share: 3000, driver: seats}, {share: 6000, driver: "@allocated"}, {share: 1000, to: observability}]
  - {id: observability, pool: observability, method: composite, parts: [{share: 8000, driver: peak_gpus}, {share: 2000, to: platform}]}
  - {id: owner, pool: rest, method: direct, owner_column: owner, fallback: [{to: unallocated}]}
"""
CHARGES = """charge_id,usage_date,cost,kind,vector_index_id,serving_pool,owner
i1,2026-10-03,100,index_maintenance,catalog,,
i2,2026-10-03,60,index_maintenance,archive,,
i3,2026-10-03,7,index_maintenance,orphan,,
g1,2026-10-10,50,gpu_idle,,llama,
g2,2026-10-20,50,gpu_idle,,llama,
p1,2026-10-01,1000,platform_fee,,,
o1,2026-10-01,200,observability_fee,,,
r1,2026-10-05,12.34,other,,,search
r2,2026-10-05,-0.01,other,,,
"""
DRIVERS = """driver,target,weight,vector_index_id,serving_pool
index_queries,search,3,catalog,
index_queries,docs,1,catalog,
index_queries,sandbox,96,catalog,
index_queries,docs,0,archive,
index_vectors,docs,0.5,archive,
index_vectors,search,1.5,archive,
index_subscribers,search,1,orphan,
index_subscribers,docs,9,orphan,
reserved_gpu_hours,docs,10,,llama
reserved_gpu_hours,search,30,,llama
weighted_tokens,search,1,,llama
seats,search,2,,
seats,docs,3,,
peak_gpus,search,1,,
peak_gpus,docs,1,,
"""


def run(folder: Path, rules: str, charges: str, drivers: str, *more: str) -> subprocess.CompletedProcess[str]:
    for name, text in (("rules.yaml", rules), ("charges.csv", charges), ("drivers.csv", drivers)):
        (folder / name).write_text(text, encoding="utf-8")
    words = ["allocate", "--rules", "rules.yaml", "--charges", "charges.csv", "--drivers", "drivers.csv", *more]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); from pipelines.cli import main; sys.argv[1:] = {words!r}; main()"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip


def split(folder: Path, rules: str, charges: str, drivers: str) -> list[dict[str, str]]:
    ended = run(folder, rules, charges, drivers)
    assert ended.returncode == 0, ended.stderr
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    given = {row["charge_id"]: Decimal(row["cost"]) for row in csv.DictReader(io.StringIO(charges))}
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row["charge_id"]] += Decimal(row["cost"])
    assert dict(sums) == given
    return rows


def owners(rows: list[dict[str, str]]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row["target"]] += Decimal(row["cost"])
    return dict(sums)


def test_the_published_grammar(tmp_path: Path) -> None:
    rows = split(tmp_path, GRAMMAR, CHARGES, DRIVERS)
    found = {(row["charge_id"], row["target"]): (Decimal(row["cost"]), row["fallback_level"]) for row in rows}
    assert found["i1", "search"] == (75, "0") and found["i1", "docs"] == (25, "0") and ("i1", "sandbox") not in found
    assert found["i2", "search"] == (45, "1") and found["i2", "docs"] == (15, "1")
    assert found["i3", "search"] == (Decimal("3.5"), "2") and found["i3", "docs"] == (Decimal("3.5"), "2")
    assert found["g2", "search"] == (Decimal("37.5"), "0")
    assert found["r1", "search"] == (Decimal("12.34"), "0") and found["r2", "unallocated"] == (Decimal("-0.01"), "1")
    assert {row["target"] for row in rows} == {"search", "docs", "unallocated"}
    # p1: platform sends a tenth to observability, which sends a fifth of its cost back: solved exactly.
    allocated = {"search": Fraction("173.34"), "docs": Fraction("56")}  # 75 + 45 + 3.5 + 37.5 + 12.34, and 25 + 15 + 3.5 + 12.5
    direct = {t: Fraction(3, 10) * Fraction(w, 5) + Fraction(6, 10) * allocated[t] / sum(allocated.values()) for t, w in (("search", 2), ("docs", 3))}
    whole = {t: (direct[t] + Fraction(1, 10) * Fraction(8, 10) / 2) / (1 - Fraction(1, 50)) for t in direct}
    assert sum(whole.values()) == 1
    for team, share in whole.items():
        assert abs(Fraction(found["p1", team][0]) - 1000 * share) < Fraction(1, 10**12)


TEXTBOOK = """
version: 1
support_teams: [it, hr]
cycles: {cycles}
pools: {{it: "center = 'it'", hr: "center = 'hr'", rest: "true"}}
rules:
  - {{id: it, pool: it, method: fixed, weights: {{hr: 20, assembly: 30, finishing: 50}}, fallback: [{{to: unallocated}}]}}
  - {{id: hr, pool: hr, method: fixed, weights: {{it: 10, assembly: 60, finishing: 30}}, fallback: [{{to: unallocated}}]}}
  - {{id: own, pool: rest, method: direct, owner_column: center, fallback: [{{to: unallocated}}]}}
"""
CENTERS = "charge_id,usage_date,cost,center\nit,2026-10-01,100000,it\nhr,2026-10-01,50000,hr\n"
NOTHING = "driver,target,weight\n"


def test_step_down_and_reciprocal_of_cost_accounting(tmp_path: Path) -> None:
    """Two service departments that serve each other. Reciprocal: IT = 100,000 + 0.1 HR and HR = 50,000 + 0.2 IT."""
    down = owners(split(tmp_path, TEXTBOOK.format(cycles="step_down\norder: [it, hr]"), CENTERS, NOTHING))
    hr = 50_000 + 20_000  # IT passes on first; HR then has no way back
    for team, own, share in (("assembly", 30_000, 60), ("finishing", 50_000, 30)):
        assert abs(Fraction(down[team]) - own - Fraction(hr * share, 90)) < Fraction(2, 10**12)
    both = owners(split(tmp_path, TEXTBOOK.format(cycles="reciprocal"), CENTERS, NOTHING))
    it = Fraction(100_000 + 5_000) / (1 - Fraction(2, 100))
    hr_total = 50_000 + it / 5
    for team, share_it, share_hr in (("assembly", 3, 6), ("finishing", 5, 3)):
        assert abs(Fraction(both[team]) - (it * share_it + hr_total * share_hr) / 10) < Fraction(2, 10**12)
    assert run(tmp_path, TEXTBOOK.format(cycles="error"), CENTERS, NOTHING).returncode == 1


def test_even_fixed_and_proportional_split_charges_of_a_cloud_cost_category(tmp_path: Path) -> None:
    """The three methods of AWS Cost Categories split charges: a shared cost over three targets."""
    rules = """
version: 1
pools: {even: "kind = 'even'", fixed: "kind = 'fixed'", rest: "true"}
rules:
  - {id: even, pool: even, method: even, driver: spend, fallback: [{to: unallocated}]}
  - {id: fixed, pool: fixed, method: fixed, weights: {a: 5000, b: 3000, c: 2000}}
  - {id: proportional, pool: rest, method: proportional, driver: spend, fallback: [{to: unallocated}]}
"""
    charges = "charge_id,usage_date,cost,kind\n1,2026-10-01,100,even\n2,2026-10-01,100,fixed\n3,2026-10-01,100,proportional\n"
    drivers = "driver,target,weight\nspend,a,600\nspend,b,300\nspend,c,100\n"
    rows = split(tmp_path, rules, charges, drivers)
    found = {(row["charge_id"], row["target"]): Decimal(row["cost"]) for row in rows}
    assert [found["1", t] for t in "abc"] == [Decimal("33.333333333334"), Decimal("33.333333333333"), Decimal("33.333333333333")]
    assert [found["2", t] for t in "abc"] == [50, 30, 20] and [found["3", t] for t in "abc"] == [60, 30, 10]


def test_a_million_dollars_by_ten_trillion_tokens_with_fractional_weights(tmp_path: Path) -> None:
    drivers = "driver,target,weight\n" + "".join(f"tokens,t{i},{10**13 + i}.{i:09d}\n" for i in range(1, 8))
    rules = 'version: 1\npools: {rest: "true"}\nrules: [{id: r, pool: rest, method: proportional, driver: tokens, fallback: [{to: unallocated}]}]\n'
    rows = split(tmp_path, rules, "charge_id,usage_date,cost\n1,2026-10-01,1000000\n", drivers)
    weights = {f"t{i}": Fraction(f"{10**13 + i}.{i:09d}") for i in range(1, 8)}
    for row in rows:
        assert abs(Fraction(row["cost"]) - 10**6 * weights[row["target"]] / sum(weights.values())) < Fraction(1, 10**12)


REFUSED = [
    ("charges", CHARGES.replace("i1,2026-10-03,100,", "i1,2026-10-03,NaN,", 1), r"charges.csv:2"),
    ("charges", CHARGES.replace("i2,", "i1,", 1), r"charges.csv:3"),
    ("charges", CHARGES.replace("2026-10-20", "20.10.2026", 1), r"charges.csv:6"),
    ("charges", CHARGES.replace("charge_id,", "id,", 1), r"charges.csv:1"),
    ("drivers", DRIVERS.replace("seats,search,2", "seats,search,-2", 1), r"drivers.csv"),
    ("drivers", DRIVERS.replace("seats,docs,3", "seats,search,3", 1), "two rows"),
    ("drivers", DRIVERS.replace("seats,search,2", "seats,search,1e999999", 1), r"drivers.csv"),
    ("drivers", DRIVERS.replace("seats,", "places,"), "unknown driver seats"),
    ("rules", GRAMMAR.replace("share: 3000", "share: 3001", 1), r"rules.yaml:\d+"),
    ("rules", GRAMMAR.replace("cycles: reciprocal", "cycles: error", 1), r"rules.yaml:\d+"),
]


@pytest.mark.parametrize("file, text, said", REFUSED)
def test_what_is_wrong_is_refused_on_one_line(tmp_path: Path, file: str, text: str, said: str) -> None:
    given = {"rules": GRAMMAR, "charges": CHARGES, "drivers": DRIVERS, file: text}
    ended = run(tmp_path, **given)
    assert ended.returncode == 1 and ended.stdout == "", ended.stdout
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1 and re.search(said, lines[0]) and ";" in lines[0], ended.stderr


@pytest.mark.parametrize("name", ["rules.yaml", "charges.csv", "drivers.csv"])
def test_an_output_that_is_an_input_is_wrong_usage(tmp_path: Path, name: str) -> None:
    ended = run(tmp_path, GRAMMAR, CHARGES, DRIVERS, "--out", f"./{name}")
    assert ended.returncode == 2 and "reads" in ended.stderr
    kept = [(tmp_path / file).read_text() for file in ("rules.yaml", "charges.csv", "drivers.csv")]
    assert kept == [GRAMMAR, CHARGES, DRIVERS]
