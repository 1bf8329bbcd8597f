"""How fast the allocation engine splits, as a ratio against a bare DuckDB query that multiplies by shares in floating point.

    python -m tests.bench.allocate --rows 2000000

Each case runs in a process of its own. Prints CPU seconds (user and system) of `engine.run`, of the bare query, the ratio, and
peak memory. `twice` is the first case with twice the rows: its ratio to the first says whether cost is linear.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb

from pipelines import warehouse
from pipelines.allocation import engine, rules

TARGETS = 100
POLICY = """
version: 1
pools: {rest: "true"}
rules: [{id: share, pool: rest, by: [pot], method: proportional, driver: weights, fallback: [{to: unallocated}]}]
"""
CASES = {  # charges for each pot, measures, how many times the rows
    "large pots": (200, 1, 1),
    "small pots": (1, 1, 1),
    "six costs": (200, 6, 1),
    "twice": (200, 1, 2),
}


def fill(con: duckdb.DuckDBPyConnection, charges: int, pots: int, measures: int) -> list[str]:
    names = [f"cost_{i}" for i in range(measures)]
    costs = ", ".join(f"((i * 7919 + {k}) % 1000003 * 0.0123)::decimal(38, 12) as {name}" for k, name in enumerate(names))
    con.execute(
        f"create table portions as select 'c' || i as charge_id, 'whole' as portion, date '2026-10-01' + (i % 31)::int as usage_date,"
        f" 'p' || i % {pots} as pot, {costs} from range({charges}) t(i)"
    )
    con.execute(
        f"create table weights as select 'p' || p as pot, 't' || t as target, ((p * 31 + t * 17) % 997 + 1.5)::decimal(38, 3) as weight"
        f" from range({pots}) a(p), range({TARGETS}) b(t)"
    )
    return names


def cpu(work: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(case: str, rows: int) -> dict[str, float]:
    per_pot, measures, times = CASES[case]
    charges = rows * times // TARGETS
    con = warehouse.memory()
    names = fill(con, charges, max(1, charges // per_pot), measures)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "allocation.yaml"
        path.write_text(POLICY, encoding="utf-8")
        policy = rules.load(path)
    shares = ", ".join(f"sum(p.{name}::double * w.weight::double / t.total)" for name in names)
    bare = cpu(
        lambda: con.execute(
            f"""
            create temp table bare as
            with totals as (select pot, sum(weight)::double as total from weights group by pot)
            select p.charge_id, w.target, {shares}
            from portions p join weights w on w.pot = p.pot join totals t on t.pot = p.pot
            group by all
            """
        )
    )
    con.execute("drop table bare")
    period = (date(2026, 10, 1), date(2026, 11, 1))
    split = cpu(
        lambda: engine.run(con, policy, portions="portions", measures=names, period=period, driver=lambda name: name)
    )
    made = con.execute("select count(*) from allocations").fetchall()[0][0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": made, "cpu": split, "bare": bare, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--case", choices=CASES, help="one case, in this process, as JSON")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(measure(given.case, given.rows)))
        return
    for case in CASES:
        command = [sys.executable, "-m", "tests.bench.allocate", "--rows", str(given.rows), "--case", case]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{case:12} {told['rows']:>9,.0f} rows  {told['cpu']:6.2f} s CPU  bare {told['bare']:5.2f} s"
            f"  ratio {told['cpu'] / told['bare']:5.1f}  peak {told['peak']:5,.0f} MB"
        )


if __name__ == "__main__":
    main()
