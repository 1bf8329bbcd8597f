"""How fast the allocation engine splits, as a ratio against a bare DuckDB query that multiplies by shares in floating point.

    python -m tests.bench.allocate --rows 2000000

Each case runs in a process of its own. Prints CPU seconds (user and system) of `engine.run`, of the bare query, the ratio, and
peak memory. `twice` is the first case with twice the rows: its ratio to the first says whether cost is linear. `alike` has six
costs of which four are the same, as in a night without discounts. The command `allocate` is timed on CSV files from its start to
its end, once with as many rows out and once with as many driver rows in as well.
"""

from __future__ import annotations

import argparse
import csv
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
    "alike": (200, -6, 1),  # measures below zero: all but the last two are the first
    "twice": (200, 1, 2),
}
COMMANDS = {"csv rows": 200, "csv drivers": 1}  # charges for each pot


def fill(con: duckdb.DuckDBPyConnection, charges: int, pots: int, measures: int) -> list[str]:
    names = [f"cost_{i}" for i in range(abs(measures))]
    steps = [max(0, k + 2 - len(names)) if measures < 0 else k for k in range(len(names))]
    costs = ", ".join(f"((i * 7919 + {k}) % 1000003 * 0.0123)::decimal(38, 12) as {name}" for k, name in zip(steps, names, strict=True))
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


def measure_command(case: str, rows: int) -> dict[str, float]:
    """The whole command in a process of its own; `bare` reads and writes as much CSV with nothing in between."""
    charges = rows // TARGETS
    pots = max(1, charges // COMMANDS[case])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(POLICY, encoding="utf-8")
        with open(folder / "charges.csv", "w", encoding="utf-8", newline="") as file:
            given = ((f"c{i}", f"2026-10-{i % 31 + 1:02}", f"{i * 7919 % 1000003 * 0.0123:.4f}", f"p{i % pots}") for i in range(charges))
            csv.writer(file).writerows([("charge_id", "usage_date", "cost", "pot"), *given])
        with open(folder / "drivers.csv", "w", encoding="utf-8", newline="") as file:
            out = csv.writer(file)
            out.writerow(("driver", "pot", "target", "weight"))
            for p in range(pots):
                out.writerows(("weights", f"p{p}", f"t{t}", f"{(p * 7919 + t * 104729) % 9999991 + 1}.5") for t in range(TARGETS))
        files = [f"--{file}={folder / file}.csv" for file in ("charges", "drivers")]
        command = ["-m", "pipelines", "allocate", f"--rules={folder / 'rules.yaml'}", *files, f"--out={folder / 'out.csv'}"]
        subprocess.run([sys.executable, *command], check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        con = warehouse.memory()
        made = con.execute("select count(*) from read_csv(?, all_varchar = true)", [str(folder / "out.csv")]).fetchall()[0][0]

        def copy() -> None:
            for file in ("charges", "drivers", "out"):
                con.execute(f"create or replace temp table bare as from read_csv('{folder / file}.csv', all_varchar = true)")
            con.execute(f"copy bare to '{folder / 'copy.csv'}'")

        return {"rows": made, "cpu": used.ru_utime + used.ru_stime, "bare": cpu(copy), "peak": used.ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--case", choices=[*CASES, *COMMANDS], help="one case, in this process, as JSON")
    given = parser.parse_args()
    if given.case:
        print(json.dumps((measure if given.case in CASES else measure_command)(given.case, given.rows)))
        return
    for case in [*CASES, *COMMANDS]:
        command = [sys.executable, "-m", "tests.bench.allocate", "--rows", str(given.rows), "--case", case]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{case:12} {told['rows']:>9,.0f} rows  {told['cpu']:6.2f} s CPU  bare {told['bare']:5.2f} s"
            f"  ratio {told['cpu'] / told['bare']:5.1f}  peak {told['peak']:5,.0f} MB"
        )


if __name__ == "__main__":
    main()
