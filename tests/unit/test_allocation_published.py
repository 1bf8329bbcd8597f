"""Worked examples that others have published, replayed through `apportion allocate` to their published digits."""

from __future__ import annotations

import csv
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipelines.allocation.csv import allocate

Row = dict[str, Any]


def replay(folder: Path, rules: str, charges: list[Row], drivers: list[Row]) -> list[dict[str, str]]:
    """The result's rows; every charge adds up, whatever else a test looks at."""
    (folder / "rules.yaml").write_text(rules, encoding="utf-8")
    given = [{"charge_id": f"charge-{i}", "usage_date": "2026-10-01", **charge} for i, charge in enumerate(charges)]
    table(folder / "charges.csv", given)
    table(folder / "drivers.csv", drivers or [{"driver": "none", "target": "none", "weight": 1}])
    allocate(folder / "rules.yaml", folder / "charges.csv", folder / "drivers.csv", folder / "out.csv")
    with open(folder / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sums = total(rows, "charge_id")
    assert all(sums[charge["charge_id"]] == Decimal(str(charge["cost"])) for charge in given)
    return rows


def table(path: Path, rows: list[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def total(rows: list[dict[str, str]], by: str = "target") -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row[by]] += Decimal(row["cost"])
    return dict(sums)


def rounded(sums: dict[str, Decimal], places: str = "0.01") -> dict[str, str]:
    return {owner: f"{amount.quantize(Decimal(places))}" for owner, amount in sums.items() if amount}


# OpenCost ------------------------------------------------------------------------------------------------------------
# opencost/opencost, core/pkg/opencost/allocation_test.go, TestAllocationSet_AggregateBy: two clusters, twelve containers in
# three namespaces; each container costs 1 for each of six resources, but the first 11 for memory. Idle: see IDLE.

CONTAINERS = [
    *(("cluster1", "namespace1", app) for app in ("app1", "", "")),
    *(("cluster1", "namespace2", app) for app in ("app2", "app2", "")),
    *(("cluster2", "namespace2", app) for app in ("app2", "app2", "")),
    *(("cluster2", "namespace3", "") for _ in range(3)),
]
IDLE = [("cluster1", "cpu", 5), ("cluster1", "ram", 15), ("cluster2", "cpu", 5), ("cluster2", "ram", 5)]


def opencost(kind_of_app1: str = "container") -> list[Row]:
    rows: list[Row] = []
    for i, (cluster, namespace, app) in enumerate(CONTAINERS):
        for resource in ("cpu", "ram", "gpu", "pv", "network", "balancer"):
            cost = 11 if i == 0 and resource == "ram" else 1
            kind = kind_of_app1 if app == "app1" else "container"
            rows.append({"cost": cost, "kind": kind, "cluster": cluster, "resource": resource, "namespace": namespace})
    idle = [{"cost": c, "kind": "idle", "cluster": cluster, "resource": r, "namespace": ""} for cluster, r, c in IDLE]
    return [*rows, *idle]


NAMESPACES = "{id: own, pool: rest, method: direct, owner_column: namespace, fallback: [{to: unallocated}]}"
NOT_SHARED = "{id: idle, pool: idle, method: to, to: __idle__}"


def test_opencost_3a_idle_shared_by_cost_of_the_resource_in_the_cluster(tmp_path: Path) -> None:
    rules = f"""
version: 1
pools: {{idle: "kind = 'idle'", rest: "true"}}
rules:
  - {{id: idle, pool: idle, by: [cluster, resource], method: proportional, driver: "@allocated", fallback: [{{to: __idle__}}]}}
  - {NAMESPACES}
"""
    assert rounded(total(replay(tmp_path, rules, opencost(), []))) == {
        "namespace1": "42.69",
        "namespace2": "46.31",
        "namespace3": "23.00",
    }


@pytest.mark.parametrize(
    "split, published",
    [
        ("method: even, driver: others", {"namespace1": "37.00", "namespace2": "45.00", "__idle__": "30.00"}),  # 4a
        ('method: proportional, driver: "@allocated", eligible: "target <> \'__idle__\'"',
         {"namespace1": "35.88", "namespace2": "46.12", "__idle__": "30.00"}),  # 4b; OpenCost rounds 46.125 up
    ],
)  # fmt: skip
def test_opencost_4a_4b_a_shared_namespace(tmp_path: Path, split: str, published: dict[str, str]) -> None:
    rules = f"""
version: 1
support_teams: [namespace3]
pools: {{idle: "kind = 'idle'", namespace3: "false", rest: "true"}}
rules:
  - {NOT_SHARED}
  - {NAMESPACES}
  - {{id: shared, pool: namespace3, {split}, fallback: [{{to: unallocated}}]}}
"""
    drivers = [{"driver": "others", "target": f"namespace{i}", "weight": 1} for i in (1, 2)]
    assert rounded(total(replay(tmp_path, rules, opencost(), drivers))) == published


def test_opencost_4c_a_shared_label(tmp_path: Path) -> None:
    rules = f"""
version: 1
pools: {{shared: "kind = 'app1'", idle: "kind = 'idle'", rest: "true"}}
rules:
  - {{id: shared, pool: shared, method: even, driver: "@allocated", eligible: "target <> '__idle__'", fallback: [{{to: x}}]}}
  - {NOT_SHARED}
  - {NAMESPACES}
"""
    assert rounded(total(replay(tmp_path, rules, opencost("app1"), []))) == {
        "namespace1": "17.33",
        "namespace2": "41.33",
        "namespace3": "23.33",
        "__idle__": "30.00",
    }


def test_opencost_4d_overhead_by_cost(tmp_path: Path) -> None:
    rules = f"""
version: 1
pools: {{overhead: "kind = 'overhead'", idle: "kind = 'idle'", rest: "true"}}
rules:
  - {{id: overhead, pool: overhead, method: proportional, driver: "@allocated", eligible: "target <> '__idle__'", fallback: [{{to: x}}]}}
  - {NOT_SHARED}
  - {NAMESPACES}
"""
    charges = [*opencost(), {"cost": 7 * 24, "kind": "overhead"}]
    assert rounded(total(replay(tmp_path, rules, charges, [])), "0.001") == {
        "namespace1": "85.366",
        "namespace2": "109.756",
        "namespace3": "54.878",
        "__idle__": "30.000",
    }


def test_opencost_6g_idle_and_a_shared_namespace_with_its_idle(tmp_path: Path) -> None:
    """The shared namespace takes its part of idle, and is then shared by what the others cost before idle."""
    rules = f"""
version: 1
support_teams: [namespace1]
pools: {{idle: "kind = 'idle'", namespace1: "false", rest: "true"}}
rules:
  - {{id: idle, pool: idle, by: [cluster, resource], method: proportional, driver: cost_before_idle, fallback: [{{to: __idle__}}]}}
  - {NAMESPACES}
  - {{id: shared, pool: namespace1, method: proportional, driver: cost_before_idle, fallback: [{{to: unallocated}}]}}
"""
    sums: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in opencost():
        if row["namespace"]:
            sums[row["namespace"], row["cluster"], row["resource"]] += row["cost"]
    drivers = [
        {"driver": "cost_before_idle", "target": n, "weight": w, "cluster": c, "resource": r}
        for (n, c, r), w in sums.items()
    ]
    found = total(replay(tmp_path, rules, opencost(), drivers))
    assert rounded(found, "0.0001") == {"namespace2": "74.7708", "namespace3": "37.2292"}


# AWS -----------------------------------------------------------------------------------------------------------------


def test_aws_unit_costs_of_an_instance(tmp_path: Path) -> None:
    """AWS Cost and Usage Report guide, "Example of split cost allocation data": an m5.xlarge (4 vCPU, 16 GB) at $1 an hour,
    weights 9:1, costs $0.17 per vCPU and $0.02 per GB; "... for accelerated instances": a p3.16xlarge (8 GPU, 64 vCPU,
    488 GB) at $10, weights 9 / 0.9 / 0.1, costs $0.504 per GPU and $0.05 per vCPU.
    """
    rules = """
version: 1
pools: {rest: "true"}
rules:
  - {id: split, pool: rest, by: [instance], method: proportional, driver: weighted_capacity, fallback: [{to: unallocated}]}
"""
    charges = [{"cost": 1, "instance": "m5"}, {"cost": 10, "instance": "p3"}]
    capacity = [
        ("m5", "cpu", 9 * 4), ("m5", "memory", 16), ("p3", "gpu", 9 * 8), ("p3", "cpu", "57.6"), ("p3", "memory", "48.8"),
    ]  # fmt: skip
    drivers = [{"driver": "weighted_capacity", "instance": i, "target": t, "weight": w} for i, t, w in capacity]
    rows = {(r["charge_id"], r["target"]): Decimal(r["cost"]) for r in replay(tmp_path, rules, charges, drivers)}
    assert f"{rows['charge-0', 'cpu'] / 4:.2f}" == "0.17"
    assert f"{rows['charge-0', 'memory'] / 16:.2f}" == "0.02"
    assert f"{rows['charge-1', 'gpu'] / 8:.3f}"[:4] == "0.50"
    assert f"{rows['charge-1', 'cpu'] / 64:.2f}" == "0.05"


def test_aws_unused_capacity_goes_to_the_pods_by_what_they_were_allocated(tmp_path: Path) -> None:
    """The same guide's method: a pod is allocated the greater of reserved and used; what nobody was allocated is
    redistributed by allocation, for each resource. Here 1 of 4 vCPU and 4 of 16 GB are unused.
    """
    rules = """
version: 1
support_teams: [unused]
pools: {unused: "false", rest: "true"}
rules:
  - {id: pods, pool: rest, by: [instance, resource], method: proportional, driver: allocated, fallback: [{to: unallocated}]}
  - {id: unused, pool: unused, by: [instance, resource], method: proportional, driver: "@allocated", fallback: [{to: unallocated}]}
"""
    charges = [
        {"cost": 36, "instance": "i", "resource": "cpu"},
        {"cost": 16, "instance": "i", "resource": "memory"},
        {"cost": 10, "instance": "j", "resource": "cpu"},  # fully idle: nobody to redistribute to
    ]
    reserved_and_used = {"a": ((1, "0.1"), (4, 3)), "b": ((1, "1.5"), (4, 6)), "c": (("0.5", "0.5"), (2, 1))}
    drivers = []
    for pod, pairs in reserved_and_used.items():
        for resource, pair in zip(("cpu", "memory"), pairs, strict=True):
            weight = max(map(Decimal, map(str, pair)))
            drivers.append(
                {"driver": "allocated", "instance": "i", "resource": resource, "target": pod, "weight": weight}
            )
    for instance, resource, free in (("i", "cpu", 1), ("i", "memory", 4), ("j", "cpu", 4)):
        drivers.append(
            {"driver": "allocated", "instance": instance, "resource": resource, "target": "unused", "weight": free}
        )
    assert rounded(total(replay(tmp_path, rules, charges, drivers))) == {
        "a": f"{Decimal(36) / 3 + Decimal(16) / 3:.2f}",
        "b": f"{Decimal(36) / 2 + Decimal(16) / 2:.2f}",
        "c": f"{Decimal(36) / 6 + Decimal(16) / 6:.2f}",
        "unallocated": "10.00",
    }


@pytest.mark.parametrize(
    "method, shared",
    [
        ('method: proportional, driver: "@allocated"', {"engineering": 20, "marketing": 12, "finops": 8}),
        ("method: fixed, weights: {engineering: 50, marketing: 30, finops: 20}", {"engineering": 20, "marketing": 12, "finops": 8}),
        ('method: even, driver: "@allocated"', {"engineering": Fraction(40, 3), "marketing": Fraction(40, 3), "finops": Fraction(40, 3)}),
    ],
)  # fmt: skip
def test_aws_cost_category_split_charges(tmp_path: Path, method: str, shared: dict[str, Fraction]) -> None:
    """AWS Billing guide, "Splitting charges within cost categories": shared cost to business units by their cost, by fixed
    percentages, or evenly. AWS forbids a second split of what was split; here it is a stage.
    """
    rules = f"""
version: 1
pools: {{shared: "unit = 'shared'", rest: "true"}}
rules:
  - {{id: split, pool: shared, {method}, fallback: [{{to: unallocated}}]}}
  - {{id: own, pool: rest, method: direct, owner_column: unit, fallback: [{{to: unallocated}}]}}
"""
    own = {"engineering": 500, "marketing": 300, "finops": 200}
    rows = replay(tmp_path, rules, [{"cost": c, "unit": u} for u, c in {**own, "shared": 40}.items()], [])
    for unit, cost in total(rows).items():
        assert abs(Fraction(cost) - own[unit] - shared[unit]) < Fraction(1, 10**12)


# Textbook ------------------------------------------------------------------------------------------------------------
# Horngren, Datar, Rajan: Cost Accounting, the chapter on support-department costs (Castleford Engineering). Plant maintenance
# and information systems serve each other and two operating departments.

CASTLEFORD = {
    "maintenance": ("6300000", {"systems": 1600, "machining": 2400, "assembly": 4000}),
    "systems": ("1452150", {"maintenance": 200, "machining": 1600, "assembly": 200}),
}
OPERATING = {"machining": 4000000, "assembly": 2000000}


def castleford(tmp_path: Path, cycles: str, eligible: str = "") -> dict[str, str]:
    rules = f"""
version: 1
support_teams: [maintenance, systems]
{cycles}
pools: {{maintenance: "department = 'maintenance'", systems: "department = 'systems'", rest: "true"}}
rules:
  - {{id: maintenance, pool: maintenance, method: proportional, driver: hours_of_maintenance, {eligible} fallback: [{{to: unallocated}}]}}
  - {{id: systems, pool: systems, method: proportional, driver: hours_of_systems, {eligible} fallback: [{{to: unallocated}}]}}
  - {{id: own, pool: rest, method: direct, owner_column: department, fallback: [{{to: unallocated}}]}}
"""
    charges = [{"cost": c, "department": d} for d, c in {**OPERATING, **{k: v[0] for k, v in CASTLEFORD.items()}}.items()]
    drivers = [
        {"driver": f"hours_of_{center}", "target": target, "weight": hours}
        for center, (_, used) in CASTLEFORD.items()
        for target, hours in used.items()
    ]
    return rounded(total(replay(tmp_path, rules, charges, drivers)))


@pytest.mark.parametrize(
    "cycles, eligible, machining, assembly",
    [
        ("cycles: error", "eligible: \"target in ('machining', 'assembly')\",", "7653300.00", "6098850.00"),
        ("cycles: step_down\norder: [maintenance, systems]", "", "8300800.00", "5451350.00"),
        ("cycles: step_down\norder: [systems, maintenance]", "", "7578675.62", "6173474.38"),
        ("cycles: reciprocal", "", "8187025.00", "5565125.00"),
    ],
)
def test_textbook_direct_step_down_and_reciprocal(
    tmp_path: Path, cycles: str, eligible: str, machining: str, assembly: str
) -> None:
    assert castleford(tmp_path, cycles, eligible) == {"machining": machining, "assembly": assembly}


# Caps, cutoffs, lost money -------------------------------------------------------------------------------------------


def test_statcan_the_last_user_of_a_quiet_month_with_and_without_a_cap(tmp_path: Path) -> None:
    """StatCan/aaw issue 1412: $0.93 of use was billed $49.77 once idle was shared by use. At most twice the active cost:
    $1.86 of idle, the rest stays with the platform.
    """
    shared = """
version: 1
pools: {idle: "kind = 'idle'", rest: "true"}
rules:
  - {id: idle, pool: idle, method: proportional, driver: "@allocated", fallback: [{to: platform}]CAP}
  - {id: own, pool: rest, method: direct, owner_column: owner, fallback: [{to: platform}]}
"""
    charges = [{"cost": "0.93", "kind": "use", "owner": "analyst"}, {"cost": "48.84", "kind": "idle", "owner": ""}]
    assert rounded(total(replay(tmp_path, shared.replace("CAP", ""), charges, []))) == {"analyst": "49.77"}
    capped = shared.replace("CAP", ', cap: {times: 2, of: "@allocated", excess: platform}')
    assert rounded(total(replay(tmp_path, capped, charges, []))) == {"analyst": "2.79", "platform": "46.98"}


def test_cloudzero_small_elements_in_one_bucket(tmp_path: Path) -> None:
    """CloudZero CostFormation's ElementCutoff {ThresholdPercent: 1, Name: Others}: 300 customers of 0.1 % each, and two large."""
    rules = """
version: 1
pools: {rest: "true"}
rules:
  - {id: customers, pool: rest, method: proportional, driver: calls, fallback: [{to: unallocated}], cutoff: {below: 100, to: others}}
"""
    calls = {"large": 400, "medium": 300, **{f"small-{i}": 1 for i in range(300)}}
    drivers = [{"driver": "calls", "target": customer, "weight": n} for customer, n in calls.items()]
    rows = replay(tmp_path, rules, [{"cost": 1000}], drivers)
    assert rounded(total(rows)) == {"large": "400.00", "medium": "300.00", "others": "300.00"}
    assert {(row["target"], row["weight"], row["weight_total"]) for row in rows} >= {("others", "300", "1000")}


def test_koku_loses_nothing_here(tmp_path: Path) -> None:
    """Two defects of Koku's GPU distribution (docs/architecture/gpu-metric-integration.md, its SQL): $12 unallocated on each of two
    models of one node were charged as 18 and relieved as 24; a fully idle node of eight GPUs cost nobody anything.
    """
    rules = """
version: 1
pools: {rest: "true"}
rules:
  - id: unallocated-gpus
    pool: rest
    by: [node, model]
    window: day
    method: proportional
    driver: slice_hours
    fallback: [{to: platform}]
"""
    charges = [
        {"cost": 12, "node": "n1", "model": "a100"},
        {"cost": 12, "node": "n1", "model": "h100"},
        {"cost": 192, "node": "n2", "model": "h100"},
    ]
    drivers = [
        {"driver": "slice_hours", "node": "n1", "model": m, "target": t, "weight": w, "usage_date": "2026-10-01"}
        for m, t, w in (("a100", "both", 7), ("a100", "other", 7), ("h100", "both", 14))
    ]
    found = rounded(total(replay(tmp_path, rules, charges, drivers)))
    assert found == {"both": "18.00", "other": "6.00", "platform": "192.00"}
