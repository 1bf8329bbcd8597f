"""How fast the allocation engine splits, as a ratio against a bare DuckDB join of the same size in the same run.

    python -m tests.bench.allocate                # 20,000 charges over 100 targets each: two million rows
    python -m tests.bench.allocate --charges 5000 # a quarter: cost is linear in rows

Prints rows, CPU seconds of the engine and of the bare query, the ratio, and peak memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

from pipelines import warehouse
from pipelines.allocation import engine, rules

POLICY = """
version: 1
pools: {rest: "true"}
rules: [{id: r, pool: rest, by: [pot], method: proportional, driver: d, fallback: [{to: unallocated}]}]
"""
POTS, TARGETS = 200, 100


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds, user and system, of this process while `work` runs."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--charges", type=int, default=20_000)
    charges = parser.parse_args().charges
    con = warehouse.memory()
    con.execute(
        "create table portions as select 'c' || i as charge_id, 'whole' as portion, date '2026-10-01' + (i % 30)::integer as usage_date,"
        " 'p' || (i % $pots) as pot, ((i * 7919) % 1000003)::decimal(38, 12) as cost from range($charges) t(i)",
        {"pots": POTS, "charges": charges},
    )
    con.execute(
        "create table d as select 'p' || (i // $targets) as pot, 't' || (i % $targets) as target, (1 + (i * 31) % 977)::hugeint as weight"
        " from range($pots * $targets) t(i)",
        {"pots": POTS, "targets": TARGETS},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "allocation.yaml")
        path.write_text(POLICY)
        policy = rules.load(path)
    period = (date(2026, 10, 1), date(2026, 11, 1))
    bare = cpu(lambda: con.execute("create temp table bare as select charge_id, target, cost * 0.01 as cost from portions join d using (pot)"))
    split = cpu(
        lambda: engine.run(con, policy, portions="portions", measures=["cost"], period=period, driver=lambda name: name)
    )
    rows, given = con.execute("select count(*), sum(cost) from allocations").fetchall()[0]
    assert [(given,)] == con.execute("select sum(cost) from portions").fetchall()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows:,} rows  engine {split:.2f} CPU s  bare join {bare:.2f} CPU s  ratio {split / bare:.1f}  peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
