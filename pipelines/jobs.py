"""The two jobs, as the command line runs them: the night, and the close of a month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pipelines import policy as policies
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.run import Run, Say, open_run


@dataclass(frozen=True)
class Outcome:
    """What a job did: whether anything changed, the published file, and what was refused on the way."""

    changed: bool
    published: Path | None
    refused: list[Refused]


def default_through(home: Home) -> date:
    """Yesterday in UTC; never later than the last day of a company that has one (`calendar.ends_on`)."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    ends_on = policies.load(home.require_policy().policy).ends_on
    return min(yesterday, ends_on) if ends_on else yesterday


def nightly(home: Home, through: date, say: Say) -> Outcome:
    """Everything new in landing, through to published tables and drafts, as of `through`.

    Raises `Refused` when a blocking check fails (nothing is published then) and `Busy` when another run holds the
    home. Refused files do not stop the night; they are in the outcome.
    """
    with open_run(home, through, say) as run:
        _not_before_last(run)
        land(run)
        return _compute(run)


def close(home: Home, label: str, actor: str, say: Say) -> Outcome:
    """Freeze a period at the day of the last night, issue its statements, and publish again."""
    from pipelines.close import close_period
    from pipelines.publish import require_manifest

    manifest = require_manifest(home.require_policy())
    through = date.fromisoformat(manifest["through"])
    with open_run(home, through, say) as run:
        land(run)
        _compute(run)
        close_period(run, label, actor)
        return _compute(run)


def land(run: Run) -> None:
    """LAND: each new delivery once."""
    from pipelines import landing

    run.say("land new files")
    run.landed = landing.land(run.con, run.home, run.policy.sources, run.through, run.arrivals, run.say)
    run.refused = list(run.landed.refused)


def _compute(run: Run) -> Outcome:
    """The stages over what changed, as Dagster's job runs them; nothing at all when nothing did."""
    from pipelines import allocate, checks, close, insight, normalize, publish, rate, reconcile

    if publish.is_current(run):
        return Outcome(False, run.home.current.resolve(), run.refused)
    for work in (normalize.normalize, rate.rate, reconcile.reconcile, allocate.allocate):
        work(run, run.stale())
    close.book(run, run.scopes())
    for result in checks.run_checks(run):
        if result.severity == "fail" and result.bad_rows:
            fix = "nothing was published; see apportion check"
            raise Refused(f"check {result.name} failed: {result.summary}", str(run.home.root), fix)
    publish.marts(run)
    insight.insight(run)
    return Outcome(True, publish.publish(run), run.refused)


def _not_before_last(run: Run) -> None:
    from pipelines.publish import current_manifest

    manifest = current_manifest(run.home)
    if manifest and date.fromisoformat(manifest["through"]) > run.through:
        raise Refused(
            f"the home is already published as of {manifest['through']}",
            f"--through {run.through}",
            "choose that day or a later one",
        )
