"""The `apportion` command: verbs only. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 75 the home is busy."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from pipelines.home import Home
    from pipelines.jobs import Outcome

app = typer.Typer(
    name="apportion",
    help="Which team, project, feature, customer and model an AI bill was.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

HomeOption = Annotated[
    Path | None, typer.Option("--home", envvar="APPORTION_HOME", help="The home directory; default: the checkout.", show_default=False)
]
FAR = timedelta(days=62)  # a later day is a slip of the year: it would book declared hardware for months to come
def _month(text: str) -> str:
    """YYYY-MM as it is; anything else is wrong usage."""
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text, re.ASCII):
        raise typer.BadParameter(f"{text} is not a month; write it as YYYY-MM")
    return text


def _amount(text: str | None) -> Decimal | None:
    if text is not None and not re.fullmatch(r"\d{1,15}(\.\d{1,2})?", text, re.ASCII):
        raise typer.BadParameter(f"{text} is not an amount; write it like 120.50", param_hint="--amount")
    return Decimal(text) if text is not None else None


def _part(name: str | None) -> str | None:
    if name not in (None, "rates"):
        raise typer.BadParameter("only `rates` can be asked for")
    return name


MonthArgument = Annotated[str, typer.Argument(metavar="YYYY-MM", callback=_month)]
REASONS = ("wrong_team", "wrong_rate", "duplicate", "not_ours", "allocation_basis", "other")
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def main() -> None:
    """Run the command line; every refusal is one line on stderr."""
    from pipelines.errors import Busy, Refused

    try:
        app()
    except Refused as refused:
        for reason in getattr(refused, "reasons", None) or [refused]:
            _complain(str(reason))
        sys.exit(1)
    except Busy as busy:
        _complain(str(busy))
        sys.exit(75)


@app.command()
def demo(home: HomeOption = None) -> None:
    """Make the sample company: two months of files, the nightly job over them, the first month closed."""
    from pipelines import jobs, sample
    from pipelines.home import Home
    from pipelines.sample import decisions

    where = Home.find(home)
    say = _Progress()
    sample.install(where.root)
    refused = []
    for through, closes in sample.NIGHTS:
        say(f"write the sample company's files up to {through}")
        sample.write(where.root, through)
        refused = jobs.nightly(where, through, say).refused
        if closes:
            jobs.close(where, closes, "finance", say)
            decisions.dispute(where, closes, say)
    say.done()
    print(_summary(where))
    _finish(refused)


@app.command()
def init(
    home: HomeOption = None,
    first_period: Annotated[str | None, typer.Option("--first-period", metavar="YYYY-MM", help="The first month with statements; default: this month.")] = None,
) -> None:
    """Make an empty home with commented policy files."""
    import shutil

    from pipelines import policy
    from pipelines.errors import Refused
    from pipelines.home import Home, asset
    from pipelines.sources import KINDS

    where = Home.find(home)
    if where.policy.exists():
        raise Refused("has a data/policy/ already", str(where.root), "nothing was changed")
    written = policy.write_template(where.policy, first_period or f"{date.today():%Y-%m}")
    shutil.copytree(asset("data", "list_prices"), where.list_prices, dirs_exist_ok=True)
    for kind in KINDS:
        (where.landing / kind).mkdir(parents=True, exist_ok=True)
    for path in written:
        print(path.relative_to(where.root))
    print(f"Edit these files, put your own under {where.landing.relative_to(where.root)}/<kind>/<source>/, then run: apportion nightly --home {where.root}")


@app.command()
def nightly(
    home: HomeOption = None,
    through: Annotated[datetime | None, typer.Option("--through", formats=["%Y-%m-%d"], help="The day as of which to publish; default: yesterday, UTC.", show_default=False)] = None,
) -> None:
    """Everything new in landing, through to published tables and draft statements."""
    from pipelines import jobs
    from pipelines.home import Home

    where = Home.find(home).require_policy()
    if through and through.date() > date.today() + FAR:
        raise typer.BadParameter(f"{through:%Y-%m-%d} is far in the future", param_hint="--through")
    outcome = _told(lambda say: jobs.nightly(where, through.date() if through else jobs.default_through(where), say))
    print(f"published {outcome.published.name}" if outcome.changed else "nothing new; published data is unchanged")
    for note in outcome.notes:
        print(note)
    _finish(outcome.refused)


@app.command()
def close(
    period: MonthArgument,
    home: HomeOption = None,
    actor: Annotated[str, typer.Option("--actor", help="Who closes the month.")] = "finance",
) -> None:
    """Run the close checks, freeze the month, issue version 1; of a reopened month the next version."""
    from pipelines import jobs

    where = _home(home)
    outcome = _told(lambda say: jobs.close(where, period, actor, say))
    place = f"statements are in {where.reports.relative_to(where.root)}/{period}/v{outcome.entry.facts['version']}/"
    print(f"closed {period}; {place if outcome.entry.facts['totals'] else 'it has no cost, and no statements'}")
    _finish(outcome.refused)


@app.command()
def alert(
    alert_id: Annotated[str, typer.Argument(metavar="ALERT_ID", help="As status, the table alerts and every message show it.")],
    explain: Annotated[str | None, typer.Option("--explain", metavar="TEXT", help="What it was; the alert stays in sight as explained.", show_default=False)] = None,
    settled: Annotated[bool, typer.Option("--close", help="It is settled; with --explain, and why.")] = False,
    actor: Annotated[str, typer.Option("--actor", metavar="NAME", help="Who says so.")] = "finance",
    home: HomeOption = None,
) -> None:
    """Explain an alert, or close it. What was said, and by whom, is kept in the books and shown beside it; the last word counts."""
    from pipelines import jobs

    text = explain.strip() if explain else None
    if not text and not settled:
        raise typer.BadParameter("say what it was with --explain TEXT, or that it is settled with --close")
    where, state = _home(home), "closed" if settled else "explained"
    outcome = _told(lambda say: jobs.answer_alert(where, alert_id, state, text, actor, say))
    print(f"{alert_id} is {state}")
    _finish(outcome.refused)


@app.command()
def reopen(
    period: MonthArgument,
    actor: Annotated[str, typer.Option("--actor", help="Who opens it again.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence.")],
    home: HomeOption = None,
) -> None:
    """Open a closed month again, for a next version: what arrived since, and today's policy, become its delta."""
    from pipelines import jobs

    where = _home(home)
    outcome = _told(lambda say: jobs.reopen(where, period, actor, reason, say))
    version = outcome.entry.facts["version"]
    print(f"reopened {period}; its draft is in {where.reports.relative_to(where.root)}/{period}/draft/ until you close it as version {version}")
    _finish(outcome.refused)


@app.command()
def approve(
    period: MonthArgument,
    actor: Annotated[str, typer.Option("--actor", help="Who has looked at the figures.")],
    step: Annotated[Literal["review", "approve"], typer.Option("--step", help="First one person reviews, then another approves.")] = "approve",
    home: HomeOption = None,
) -> None:
    """Record that a month's draft was reviewed or approved. It counts for the figures as published, and ends when they change."""
    from pipelines import jobs

    where = _home(home)
    outcome = _told(lambda say: jobs.approve(where, period, step, actor, say))
    print(f"{period} is {step}{'ed' if step == 'review' else 'd'} by {outcome.entry.facts['actor']}; figures {outcome.entry.facts['figures'][:12]}")
    _finish(outcome.refused)


OPEN, RESOLVE = "Open a dispute: TEAM YYYY-MM and", "Resolve one"


@app.command()
def dispute(
    team: Annotated[str | None, typer.Argument(metavar="TEAM", help="Whose statement.", show_default=False)] = None,
    period: Annotated[str | None, typer.Argument(metavar="YYYY-MM", callback=lambda text: text and _month(text), show_default=False)] = None,
    actor: Annotated[str, typer.Option("--actor", help="Who disputes, or decides.")] = "",
    text: Annotated[str | None, typer.Option("--text", help="What is wrong, or why it is decided so.", show_default=False)] = None,
    line: Annotated[list[int] | None, typer.Option("--line", help="A line of the newest statement; may be given again.", show_default=False, rich_help_panel=OPEN)] = None,
    amount: Annotated[str | None, typer.Option("--amount", metavar="A", help="In the statement's currency; default: all of the lines.", show_default=False, rich_help_panel=OPEN)] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="CODE", help="wrong_team, wrong_rate, duplicate, not_ours, allocation_basis or other.", show_default=False, rich_help_panel=OPEN)] = None,
    dispute_id: Annotated[str | None, typer.Option("--resolve", metavar="ID", help="The dispute that is decided.", show_default=False, rich_help_panel=RESOLVE)] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Its amount moves to another team.", rich_help_panel=RESOLVE)] = False,
    reject: Annotated[bool, typer.Option("--reject", help="The statement is right.", rich_help_panel=RESOLVE)] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Who opened it takes it back.", rich_help_panel=RESOLVE)] = False,
    to: Annotated[str | None, typer.Option("--to", metavar="TEAM", help="Who carries what is accepted, or unallocated; default: the platform team.", show_default=False, rich_help_panel=RESOLVE)] = None,
    home: HomeOption = None,
) -> None:
    """Dispute lines of a statement, or resolve a dispute. An accepted one moves its amount between teams; the total stays."""
    from pipelines import jobs

    states = [state for state, said in (("accepted", accept), ("rejected", reject), ("withdrawn", withdraw)) if said]
    if not actor.strip():
        raise typer.BadParameter("name who disputes or decides", param_hint="--actor")
    if dispute_id:
        if len(states) != 1:
            raise typer.BadParameter("say one of --accept, --reject and --withdraw", param_hint="--resolve")
        if team or period or line or amount or reason:
            raise typer.BadParameter("a dispute is resolved by its id, as it was opened", param_hint="--resolve")
        if to and not accept:
            raise typer.BadParameter("nothing moves unless the dispute is accepted", param_hint="--to")
        where = _home(home)
        outcome = _told(lambda say: jobs.resolve_dispute(where, dispute_id, states[0], to, text, actor, say))
        facts = outcome.entry.facts
        moved = f"; {facts['amount']} {facts['currency']} move from {facts['team_id']} to {facts['to_team_id']}" if accept else ""
        print(f"{facts['dispute_id']} is {facts['state']} by {facts['actor']}{moved}")
        _finish(outcome.refused)
        return
    if states or to:
        raise typer.BadParameter("name the dispute with --resolve ID")
    if not team or not period or not line or not reason or not text:
        raise typer.BadParameter("name TEAM, YYYY-MM, --line, --reason and --text; or --resolve ID")
    reason = reason.lower().replace("-", "_")
    if reason not in REASONS:
        raise typer.BadParameter(f"{reason} is none of {', '.join(REASONS)}", param_hint="--reason")
    where = _home(home)
    outcome = _told(lambda say: jobs.dispute(where, team, period, line, _amount(amount), reason, text, actor, say))
    facts = outcome.entry.facts
    print(f"{facts['dispute_id']}: {team} disputes {facts['amount']} {facts['currency']} of {facts['statement_id']}; to decide: apportion dispute --resolve {facts['dispute_id']} --accept or --reject")
    _finish(outcome.refused)


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Periods, freshness per source, open exceptions, and dollars in every state that is not settled."""
    from pipelines import inspection
    from pipelines.home import Home

    found = inspection.status(Home.find(home).require_policy())
    print(json.dumps(found, indent=1, default=str) if as_json else inspection.status_text(found))


@app.command()
def check(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every invariant over the home."""
    from pipelines import inspection
    from pipelines.home import Home

    results = inspection.check(Home.find(home).require_policy())
    if as_json:
        print(json.dumps([{**vars(r), "passed": not r.bad_rows} for r in results], indent=1))
    for result in results:
        failed = result.bad_rows and result.severity == "fail"
        if failed:
            _complain(f"{result.name}: {result.summary}; {result.description}")
        elif not as_json:
            print(f"{'ok  ' if not result.bad_rows else 'note'} {result.name}: {result.description if not result.bad_rows else result.summary}")
    if any(r.bad_rows and r.severity == "fail" for r in results):
        sys.exit(1)


@app.command()
def verify(home: HomeOption = None) -> None:
    """Every checksum of published data, books and issued statements."""
    from pipelines import inspection
    from pipelines.home import Home

    counted, problems = inspection.verify(Home.find(home).require_policy())
    for problem in problems:
        _complain(problem)
    if problems:
        sys.exit(1)
    print(f"{counted} files are what they were when they were written")


@app.command()
def explain(
    team: str,
    period: MonthArgument,
    home: HomeOption = None,
    line: Annotated[int | None, typer.Option("--line", help="One line of the statement.")] = None,
    as_json: JsonOption = False,
) -> None:
    """From a statement line down to charges, drivers and source rows."""
    from pipelines import inspection
    from pipelines.home import Home

    found = inspection.explain(Home.find(home).require_policy(), team, period, line)
    print(json.dumps(found, indent=1, default=str) if as_json else inspection.explain_text(found))


@app.command()
def allocate(
    rules: Annotated[Path, typer.Option("--rules", help="A policy like data/policy/allocation.yaml.")],
    charges: Annotated[Path, typer.Option("--charges", help="CSV with charge_id, usage_date, cost and what the rules name.")],
    drivers: Annotated[Path | None, typer.Option("--drivers", help="CSV with driver, target, weight and the rules' `by` columns.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; default: standard output.")] = None,
) -> None:
    """The allocation kernel on plain CSV, without a home: a dry run for a policy under negotiation."""
    from pipelines.allocation import csv

    for name, given in (("--rules", rules), ("--charges", charges), ("--drivers", drivers)):
        if out and given and out.exists() and given.exists() and out.samefile(given):
            raise typer.BadParameter(f"{out} is what {name} reads", param_hint="--out")
    csv.allocate(rules, charges, drivers, out)


@app.command("whatif")
def what_if(
    period: MonthArgument,
    folder: Annotated[Path, typer.Option("--policy", help="A folder with all policy files, such as a changed copy of data/policy.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """The period under another policy: difference per team, and why. Nothing is written."""
    from pipelines import whatif
    from pipelines.home import Home

    say = _Progress()
    found = whatif.whatif(Home.find(home).require_policy(), period, folder, say)
    say.done()
    print(json.dumps(found, indent=1, default=str) if as_json else whatif.text(found))


@app.command("policy")
def show_policy(
    part: Annotated[str | None, typer.Argument(metavar="[rates]", callback=_part, help="rates: propose rates from last month's cost.", show_default=False)] = None,
    home: HomeOption = None,
) -> None:
    """The rules in plain language; with `rates`, lines for the rate card from what our own models and GPUs cost."""
    from pipelines import policy, rate_proposal
    from pipelines.home import Home
    from pipelines.policy import prose

    where = Home.find(home).require_policy()
    print(rate_proposal.text(where) if part else prose.text(policy.load(where.policy)))


@app.command("estimate")
def estimate_project(
    file: Annotated[Path | None, typer.Option("--file", help="A project with several models, clusters or indexes, in YAML.")] = None,
    model: Annotated[str | None, typer.Option(help="A model, a service of the rate card, or a serving pool.")] = None,
    provider: Annotated[str | None, typer.Option(help="Who sells the model, where several do.")] = None,
    users: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="Or LOW..BASE..HIGH; default: 1.", show_default=False)] = None,
    interactions: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="Per user and day.", show_default=False)] = None,
    days: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="Of use in a month; default: 30.", show_default=False)] = None,
    input_tokens: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="Per interaction.", show_default=False)] = None,
    cached_percent: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="Of the input tokens.", show_default=False)] = None,
    output_tokens: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="Per interaction.", show_default=False)] = None,
    cluster: Annotated[str | None, typer.Option(help="A GPU cluster, or its service of the rate card.")] = None,
    gpu_model: Annotated[str | None, typer.Option(help="Where the cluster has several.")] = None,
    gpu_hours: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="In a month.", show_default=False)] = None,
    index: Annotated[str | None, typer.Option(help="A vector index; default: any.")] = None,
    queries: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="In a month.", show_default=False)] = None,
    storage_gb: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="Kept in the index.", show_default=False)] = None,
    team: Annotated[str | None, typer.Option(help="Whose rates apply.")] = None,
    growth_percent: Annotated[str | None, typer.Option(metavar="N|LOW..HIGH", help="Of use, month on month.", show_default=False)] = None,
    months: Annotated[int | None, typer.Option(min=1, max=120, show_default=False)] = None,
    on: Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="The day whose prices apply; default: the last day of the night.", show_default=False)] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a new project would cost in a month: low, base and high, at the rate card, else at contracted and list prices."""
    from pipelines import estimate, jobs
    from pipelines.home import Home

    given = {"team": team, "growth_percent": growth_percent, "months": months}
    parts = {
        "models": (model, {"model": model, "provider": provider, "users": users, "interactions": interactions, "days": days,
                           "input_tokens": input_tokens, "cached_percent": cached_percent, "output_tokens": output_tokens}),
        "gpus": (cluster, {"cluster": cluster, "gpu_model": gpu_model, "hours": gpu_hours}),
        "indexes": (queries or storage_gb, {"vector_index": index, "queries": queries, "gb": storage_gb}),
    }  # fmt: skip
    for key, (named, values) in parts.items():
        said = {name: value for name, value in values.items() if value is not None}
        if said and not named:
            raise typer.BadParameter({"models": "name a --model", "gpus": "name a --cluster", "indexes": "say --queries or --storage-gb"}[key])
        given[key] = [said] if said else None
    options = {name: value for name, value in given.items() if value is not None}
    if bool(file) == bool(options):
        raise typer.BadParameter("say it in a --file, or in options" if file else "name a --file, a --model, a --cluster or --queries")
    where = Home.find(home).require_policy()
    found = estimate.estimate(where, file or estimate.project_of(options), on.date() if on else jobs.default_through(where))
    print(json.dumps(found, indent=1, default=str) if as_json else estimate.text(found))


prices_app = typer.Typer(name="prices", help="Public list prices: add a snapshot, compare it, apply it to days that are rated.", no_args_is_help=True)
app.add_typer(prices_app)
DAY_FORMAT = ["%Y-%m-%d"]


@prices_app.command("refresh")
def refresh_prices(home: HomeOption = None) -> None:
    """Add today's snapshot from the installed genai-prices, and show what it would change in open months. Nothing rated changes."""
    from datetime import UTC

    from pipelines import snapshots
    from pipelines.home import Home

    where = Home.find(home).require_policy()
    today = datetime.now(UTC).date()
    folder = snapshots.refresh(where, today)
    if folder.name != today.isoformat():
        print(f"nothing new: the installed genai-prices says what the snapshot of {folder.name} says")
        return
    print(f"added data/list_prices/{folder.name}/; it decides usage from {folder.name} on")
    if where.current.exists():
        say = _Progress()
        found = snapshots.compare(where, folder.name, None, say)
        say.done()
        print(snapshots.text(found))


@prices_app.command("compare")
def compare_prices(
    snapshot: Annotated[str | None, typer.Argument(metavar="[SNAPSHOT]", help="A folder of data/list_prices; default: the newest.", show_default=False)] = None,
    start: Annotated[datetime | None, typer.Option("--from", formats=DAY_FORMAT, help="The first day it would decide; default: the first open day.", show_default=False)] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """What open months would cost by another snapshot, for the models that were used. Nothing is written."""
    from pipelines import snapshots
    from pipelines.home import Home

    say = _Progress()
    found = snapshots.compare(Home.find(home).require_policy(), snapshot, start.date() if start else None, say)
    say.done()
    print(json.dumps(found, indent=1, default=str) if as_json else snapshots.text(found))


@prices_app.command("apply")
def apply_prices(
    snapshot: Annotated[str, typer.Argument(help="A folder of data/list_prices.")],
    start: Annotated[datetime, typer.Option("--from", formats=DAY_FORMAT, help="The first usage day that it decides, in an open month.")],
    home: HomeOption = None,
) -> None:
    """Let a snapshot decide days before its own; the next night rates them again. Closed months never change."""
    from pipelines import snapshots
    from pipelines.home import Home

    snapshots.apply(Home.find(home).require_policy(), snapshot, start.date())
    print(f"the list prices of {snapshot} decide from {start:%Y-%m-%d} on; run: apportion nightly")


def _home(given: Path | None) -> Home:
    from pipelines.home import Home

    return Home.find(given).require_policy()


def _told(work: Callable[[_Progress], Outcome]) -> Outcome:
    """A job with its progress on the terminal."""
    say = _Progress()
    outcome = work(say)
    say.done()
    for reason in outcome.unsent:  # the next night sends what waits: no failure of this one
        _complain(str(reason))
    return outcome


class _Progress:
    """What a long job is doing: a moving line on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self.status: Any = None

    def __call__(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text, highlight=False, markup=False)
            return
        if self.status is None:
            self.status = self.console.status(text)
            self.status.start()
        self.status.update(text)

    def done(self) -> None:
        if self.status is not None:
            self.status.stop()


def _summary(home: Any) -> str:
    from pipelines import inspection

    return inspection.made_text(home)


def _finish(refused: list[Any]) -> None:
    for reason in refused:
        _complain(str(reason))
    if refused:
        sys.exit(1)


def _complain(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr)


if __name__ == "__main__":
    main()
