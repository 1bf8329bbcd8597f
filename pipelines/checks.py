"""The invariants under `sql/checks/`: each is a SELECT of the rows that break it; no rows is a pass.

The header's `severity:` says what a bad row stops: `fail` the night's publishing and the close, `close` only the close,
`warn` nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines import models, policy
from pipelines.home import asset
from pipelines.run import Run


@dataclass(frozen=True)
class CheckResult:
    """How one invariant stands: the number of rows that break it, and the first of them in words."""

    name: str
    severity: str
    description: str
    bad_rows: int
    first: str

    @property
    def summary(self) -> str:
        return f"{self.bad_rows} bad row{'s' if self.bad_rows != 1 else ''}, first: {self.first}" if self.bad_rows else "ok"

    @property
    def blocks_close(self) -> bool:
        return self.severity in ("fail", "close")


def severity(name: str) -> str:
    found = re.search(r"severity: (\w+)", asset("sql", "checks", f"{name}.sql").read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"sql/checks/{name}.sql names no severity")
    return found[1]


def run_checks(run: Run, close: str | None = None) -> list[CheckResult]:
    """Every check over the warehouse, under today's policy; with `close`, those that look at one period look at that one only."""
    policy.register(run.con, run.policy)
    params = {"only_period": close, "through": run.through}
    return [_check(run, model, params) for model in models.checks()]


def _check(run: Run, model: models.Model, params: dict[str, object]) -> CheckResult:
    bound = {name: params[name] for name in model.parameters}
    cursor = run.con.execute(f"select count(*) over () as bad_rows, * from ({model.sql}) limit 1", bound)
    names = [column[0] for column in cursor.description][1:]
    rows = cursor.fetchall()
    first = ", ".join(f"{n} {v}" for n, v in zip(names, rows[0][1:], strict=True)) if rows else ""
    description = re.sub(r"severity: \w+\.?", "", model.description).strip()
    return CheckResult(model.name, severity(model.name), description, rows[0][0] if rows else 0, first)
