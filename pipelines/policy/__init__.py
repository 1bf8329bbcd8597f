"""What finance decides: `data/policy/*.yaml`, refused with file and line, and turned into tables the SQL reads.

policy.load(folder) -> Policy        the files, checked one by one and together
policy.register(con, policy)         temp tables policy_*, the only way the SQL sees the policy
policy.write_template(folder, ...)   commented files for an empty home
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.allocation import rules
from pipelines.allocation.rules import AllocationPolicy
from pipelines.errors import Refused
from pipelines.policy.calendar import Calendar, Period
from pipelines.policy.checks import Checker
from pipelines.policy.files import Accounts, Close, Company, Contracts, File, RateCard, Sources, Teams
from pipelines.policy.insight import Alerts, Budgets
from pipelines.policy.tables import register
from pipelines.yaml_file import PolicyRefused, line_of, read

__all__ = ["Period", "Policy", "load", "register", "write_template"]

FILES: dict[str, type[File]] = {
    "company": Company,
    "teams": Teams,
    "sources": Sources,
    "contracts": Contracts,
    "rate_card": RateCard,
    "accounts": Accounts,
    "close": Close,
    "budgets": Budgets,
    "alerts": Alerts,
}
OPTIONAL = frozenset({"contracts", "rate_card", "accounts", "close", "budgets", "alerts"})  # a missing file is an empty one
TEMPLATE = Path(__file__).parent / "template"


@dataclass(frozen=True)
class Policy:
    """Every file of one policy folder, as checked."""

    company: Company
    teams: Teams
    sources: Sources
    contracts: Contracts
    rate_card: RateCard
    accounts: Accounts
    close: Close
    budgets: Budgets
    alerts: Alerts
    allocation: AllocationPolicy
    digests: dict[str, str]  # file without .yaml -> SHA-256 of its bytes
    calendar_at: str  # file:line of what declares the periods

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any byte of any file."""
        return self.fingerprint_of(self.digests)

    def fingerprint_of(self, files: Iterable[str]) -> str:
        """Changes with any byte of these files: what decides one stage."""
        text = "\n".join(f"{name} {self.digests.get(name, '')}" for name in sorted(files))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def ends_on(self) -> date | None:
        """The last day of a company that has one, such as the sample."""
        return self.company.calendar.ends_on

    def periods(self, through: date) -> list[Period]:
        """From the first period to the one that holds `through`, oldest first."""
        calendar = self.company.calendar
        found = calendar.until(through)
        if not found:
            fix = "choose a later day, or an earlier first_period in company.yaml"
            raise Refused(f"no period yet: the first is {calendar.first_period}", f"as of {through}", fix)
        if through >= found[-1].end:
            raise Refused(f"no period holds {through}: the last that is declared ends on {calendar.last_day}", self.calendar_at, "declare the next ones")
        return found

    def reaches_back(self, period: Period) -> date:
        """The first day of bill lines whose cost is spread into the period: earlier than its start where a term began earlier."""
        return min([period.start, *(t.since for t in self.contracts.terms if t.since < period.end and t.spread[1] > period.start)])

    def terms_beyond(self, period: Period) -> list[str]:
        """The terms that spread cost from before the period's end to after it, each with all it says."""
        terms = (t for t in self.contracts.terms if t.since < period.end and t.spread[1] > period.end)
        return sorted(f"{t.id} {t.model_dump_json(by_alias=True)}" for t in terms)

    def soft_close_day(self, period: Period) -> date:
        """The calendar's working day after the period's end; Saturdays, Sundays and holidays do not count."""
        calendar = self.company.calendar
        day, left = period.end - timedelta(days=1), calendar.soft_close_working_day
        while left:
            day += timedelta(days=1)
            left -= day.weekday() < 5 and day not in calendar.holidays
        return day


_LOADED: dict[frozenset[tuple[str, str]], Policy] = {}  # by the names and digests of the files
_KEPT = 8  # policies in memory


def load(folder: Path) -> Policy:
    """The policy in `folder`; raises `PolicyRefused` with every reason, each with file and line.

    The same files give the same object: closed months are often frozen under the policy of today.
    """
    try:
        files = frozenset((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in folder.glob("*.y*ml"))
    except OSError:
        return _load(folder)  # which says what cannot be read
    if files not in _LOADED:
        policy = _load(folder)
        if files != {(f"{name}.yaml", digest) for name, digest in policy.digests.items()}:
            return policy  # somebody wrote to it while it was read
        if len(_LOADED) == _KEPT:
            _LOADED.clear()
        _LOADED[files] = policy
    return _LOADED[files]


def _load(folder: Path) -> Policy:
    reasons: list[Refused] = []
    trees: dict[str, Any] = {}
    files: dict[str, Any] = {}
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    known = (*FILES, "allocation")
    for path in sorted(folder.glob("*.y*ml")):
        if path.name not in {f"{name}.yaml" for name in known}:
            reasons.append(Refused("is not a file of the policy", path.name, f"remove it, or call it one of {', '.join(known)} .yaml"))
    for name, model in FILES.items():
        if name not in paths and name in OPTIONAL:
            files[name] = model(version=1)
            continue
        try:
            trees[name], files[name] = read(folder / f"{name}.yaml", model)
        except PolicyRefused as refused:
            reasons += refused.reasons
    allocation = None
    teams = {team.id for team in files["teams"].teams} if "teams" in files else None
    try:
        allocation = rules.load(folder / "allocation.yaml", teams=teams)
    except PolicyRefused as refused:
        reasons += refused.reasons
    if files.keys() == FILES.keys():
        reasons += Checker(trees, files, {pool.name for pool in allocation.pools} if allocation else None).all()
    if reasons or allocation is None:
        raise PolicyRefused(reasons)
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    calendar: Calendar = files["company"].calendar
    declared = ("weeks", "years") if calendar.weeks else ("periods",)
    at = f"company.yaml:{line_of(trees['company'], ('calendar', *declared))}"
    return Policy(**files, allocation=allocation, digests=digests, calendar_at=at)


def write_template(folder: Path, first_period: str) -> list[Path]:
    """Commented files for a company that starts in `first_period` (YYYY-MM); returns them. Nothing may be there yet."""
    try:
        date.fromisoformat(f"{first_period}-01")
    except ValueError:
        raise Refused(f"{first_period} is not a month", "--first-period", "write it as YYYY-MM") from None
    folder.mkdir(parents=True)
    written = []
    for source in sorted(TEMPLATE.glob("*.yaml")):
        target = folder / source.name
        target.write_text(source.read_text(encoding="utf-8").replace("FIRST_PERIOD", first_period), encoding="utf-8")
        written.append(target)
    return written
