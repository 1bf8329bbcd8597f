"""A period under another policy: what each team would carry, and why. Nothing of the home is written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipelines import allocate, normalize, policy, rate, reconcile
from pipelines.close import period_of
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.publish import require_manifest
from pipelines.run import Run, Say, open_run
from pipelines.warehouse import only_run

MOVERS = 3  # pools named per team


def whatif(home: Home, label: str, folder: Path, say: Say) -> dict[str, Any]:
    """`now`, `then` and `difference` of chargeback cost per team of a period, largest first, and the pools that moved most.

    `now` is what is booked for the period's usage, corrections included; amounts are exact, in the bills' currency.
    Refused: a folder that is no valid policy, a period that is not there.
    """
    manifest = require_manifest(home.require_policy())
    if not folder.is_dir():
        raise Refused("is not a folder", str(folder), "name a folder with all policy files, such as a changed copy of data/policy")
    policy.load(folder)
    through = date.fromisoformat(manifest["through"])
    with copied(home, folder) as copy, open_run(copy, through, say) as run:
        now = _carried(run, "select team_id, cost_pool, rule_id, chargeback_cost from ledger where original_period = $period and cost_pool <> 'dispute'", label)
        if not now:
            raise Refused(f"{label} is not a period with cost", "whatif", "see apportion status for the periods")
        scope = run.open_scope(period_of(run, label))
        for stage in (normalize.normalize, rate.rate, reconcile.reconcile, allocate.allocate):
            stage(run, [scope])
        then = _carried(run, "select team_id, cost_pool, rule_id, chargeback_cost from period_ledger where usage_period = $period", label)
    return {"period": label, "policy": str(folder), "teams": _teams(now, then)}


@contextmanager
def copied(home: Home, policy_folder: Path) -> Iterator[Home]:
    """A home beside the real one's data with another policy: its files are links, its database a copy; gone afterwards."""
    with only_run(home), tempfile.TemporaryDirectory(prefix=".whatif-", dir=home.data) as root:
        copy = Home(Path(root))
        copy.data.mkdir()
        shutil.copy(home.warehouse, copy.warehouse)
        shutil.copytree(policy_folder, copy.policy)
        for name in ("lake", "list_prices"):
            shutil.copytree(home.data / name, copy.data / name, copy_function=os.link)
        yield copy


def _carried(run: Run, rows: str, label: str) -> dict[tuple[str, str, str], Decimal]:
    found = run.con.execute(
        f"select team_id, cost_pool, rule_id, sum(chargeback_cost)::decimal(38, 12) from ({rows}) group by all", {"period": label}
    ).fetchall()
    return {row[:3]: row[3] for row in found}


def _teams(now: dict[tuple[str, str, str], Decimal], then: dict[tuple[str, str, str], Decimal]) -> list[dict[str, Any]]:
    teams = []
    for team in {key[0] for key in (*now, *then)}:
        moved: dict[str, Decimal] = {}
        for sign, side in ((-1, now), (1, then)):
            for (owner, pool, _), cost in side.items():
                if owner == team:
                    moved[pool] = moved.get(pool, Decimal(0)) + sign * cost
        before, after = (sum((cost for key, cost in side.items() if key[0] == team), Decimal(0)) for side in (now, then))
        because = [
            {
                "cost_pool": pool,
                "difference": moved[pool],
                "rules_now": sorted({key[2] for key in now if key[:2] == (team, pool)}),
                "rules_then": sorted({key[2] for key in then if key[:2] == (team, pool)}),
            }
            for pool in sorted(moved, key=lambda pool: (-abs(moved[pool]), pool))
            if moved[pool]
        ]
        teams.append({"team_id": team, "now": before, "then": after, "difference": after - before, "because": because[:MOVERS]})
    return sorted(teams, key=lambda row: (-abs(row["difference"]), row["team_id"]))


def text(found: dict[str, Any]) -> str:
    """One line per team, and under it the pools that moved most, with the rules that decide."""
    head = f"{found['period']} under {found['policy']}: what its own usage costs, without corrections of earlier months and disputes"
    out = [head, "", f"{'team':<24}{'now':>16}{'then':>16}{'difference':>16}"]
    for row in found["teams"]:
        out.append(f"{row['team_id']:<24}{row['now']:>16,.2f}{row['then']:>16,.2f}{row['difference']:>+16,.2f}")
        for why in row["because"]:
            rules = f"{', '.join(why['rules_now']) or 'nothing'} → {', '.join(why['rules_then']) or 'nothing'}"
            out.append(f"    {why['cost_pool']:<52}{why['difference']:>+16,.2f}  {rules}")
    total = sum((row["difference"] for row in found["teams"]), Decimal(0))
    out.append(f"{'all teams':<24}{'':>32}{total:>+16,.2f}")
    return "\n".join(out)
