"""The two jobs, as the command line runs them: the night, and the close of a month."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb

from pipelines import policy as policies
from pipelines.books import Entry
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.run import Run, Say, open_run

SOON = timedelta(days=35)  # before the last declared period ends: time to declare the next year


@dataclass(frozen=True)
class Outcome:
    """What a job did: whether anything changed, the published file, and what was refused on the way."""

    changed: bool
    published: Path | None
    refused: list[Refused]
    entry: Entry | None = None  # of the books, where a person decided something
    notes: list[str] = field(default_factory=list)  # what a person should know, and nobody has to do tonight
    unsent: list[Refused] = field(default_factory=list)  # channels that took no alerts, and why


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
        land(run)
        return _compute(run)


def close(home: Home, label: str, actor: str, say: Say) -> Outcome:
    """Freeze a period at the day of the last night, issue its statements, and publish again."""
    from pipelines.close import close_period
    from pipelines.review import person

    who = person(actor)
    with open_run(home, last_night(home), say) as run:
        land(run)
        _compute(run)
        entry = close_period(run, label, who)
        run.closed_as_computed(label)
        return replace(_compute(run), entry=entry)


def reopen(home: Home, label: str, actor: str, reason: str, say: Say) -> Outcome:
    """Make a closed period the destination of its own corrections again, under today's policy, and publish its next draft."""
    from pipelines import close, review

    return _decided(home, say, lambda run, _: review.reopen(run, close.period_of(run, label), actor, reason))


def approve(home: Home, label: str, step: str, actor: str, say: Say) -> Outcome:
    """Record a review or an approval of the draft as it is published."""
    from pipelines import close, review

    return _decided(home, say, lambda run, published: review.approve(run, close.period_of(run, label), step, actor, published))


def dispute(home: Home, team: str, label: str, lines: list[int], amount: Decimal | None, code: str, text: str, actor: str, say: Say) -> Outcome:
    """Open a dispute of lines of the newest statement as it is published."""
    from pipelines import close, review

    return _decided(
        home, say, lambda run, published: review.dispute(run, close.period_of(run, label), team, lines, amount, code, text, actor, published)
    )


def resolve_dispute(home: Home, dispute_id: str, state: str, to: str | None, text: str | None, actor: str, say: Say) -> Outcome:
    """Accept, reject or withdraw a dispute; what an accepted one moves is booked and published."""
    from pipelines import review

    return _decided(home, say, lambda run, published: review.resolve(run, dispute_id, state, to, text, actor, published))


def answer_alert(home: Home, alert_id: str, state: str, text: str | None, actor: str, say: Say) -> Outcome:
    """Record what somebody says about an alert: that it is explained, or closed."""
    from pipelines import alerts

    return _decided(home, say, lambda run, published: alerts.answer(run, alert_id, state, text, actor, published))


def _decided(home: Home, say: Say, decide: Callable[[Run, duckdb.DuckDBPyConnection], Entry]) -> Outcome:
    """One decision over what is published, one entry of the books, and the night of the same day after it."""
    through = last_night(home)
    with open_run(home, through, say) as run:
        with duckdb.connect(str(home.current), read_only=True) as published:
            entry = decide(run, published)
        land(run)
        return replace(_compute(run), entry=entry)


def last_night(home: Home) -> date:
    from pipelines.publish import require_manifest

    return date.fromisoformat(require_manifest(home.require_policy())["through"])


def land(run: Run) -> None:
    """LAND: each new delivery once."""
    from pipelines import landing

    run.say("land new files")
    run.known_inputs.clear()
    run.landed = landing.land(run.con, run.home, run.policy.sources, run.through, run.arrivals, run.say)
    run.refused = list(run.landed.refused)


def _compute(run: Run) -> Outcome:
    """The stages over what changed, as Dagster's job runs them; nothing at all when nothing did."""
    from pipelines import allocate, checks, close, insight, normalize, notify, publish, rate, reconcile

    if publish.is_current(run):
        unsent = notify.deliver(run) if notify.waiting(run) else []
        if publish.is_current(run):
            return Outcome(False, run.home.current.resolve(), run.refused, unsent=unsent)
    for work in (normalize.normalize, rate.rate, reconcile.reconcile, allocate.allocate):
        work(run, run.stale())
    close.book(run, run.scopes())
    for result in checks.run_checks(run):
        if result.severity == "fail" and result.bad_rows:
            fix = "nothing was published; see apportion check"
            raise Refused(f"check {result.name} failed: {result.summary}", str(run.home.root), fix)
    publish.marts(run)
    insight.insight(run)
    unsent = notify.deliver(run)
    published = publish.publish(run)
    waiting = run.con.execute("select concat(period, ' is closed: ', file, ' now says something else about it (', example, ')') from policy_edits order by all")
    notes = [f"{row[0]}; it counts once you reopen the month" for row in waiting.fetchall()]
    last_day = run.policy.company.calendar.last_day
    if last_day and last_day < run.through + SOON:
        notes.append(f"the periods of {run.policy.calendar_at} end on {last_day}; no night runs after that until the next ones are declared")
    return Outcome(True, published, run.refused, notes=notes, unsent=unsent)
