"""What the files of the policy must say together: names that exist, ids once, dates without gap or overlap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import combinations, pairwise
from typing import Any

from pipelines.errors import Refused
from pipelines.policy.calendar import Calendar, DatedPeriod, next_label
from pipelines.policy.files import (
    ACTIVITIES,
    SELLS,
    SOLD,
    TOKEN_METERS,
    Accounts,
    Belonging,
    Close,
    Company,
    Contracts,
    DatedId,
    RateCard,
    RateLine,
    Sources,
    Teams,
)
from pipelines.policy.insight import Alerts, Budgets, Scoped
from pipelines.sources import KINDS, Format, registry
from pipelines.sources.billing.mapped_bill import map_problems as bill_problems
from pipelines.sources.gpu.mapped_gpu import map_problems as gpu_problems
from pipelines.yaml_file import Dated, line_of

Loc = tuple[Any, ...]


def span(dated: Dated) -> tuple[date, date]:
    """First day, and first day it no longer holds."""
    return dated.start or date.min, dated.end or date.max


class Checker:
    """Collects every reason to refuse the files; `trees` know the lines, `cost_pools` is None where the allocation cannot be read."""

    def __init__(self, trees: dict[str, Any], files: dict[str, Any], cost_pools: set[str] | None) -> None:
        self.trees = trees
        self.cost_pools = cost_pools
        self.reasons: list[Refused] = []
        self.company: Company = files["company"]
        self.teams: Teams = files["teams"]
        self.sources: Sources = files["sources"]
        self.contracts: Contracts = files["contracts"]
        self.rate_card: RateCard = files["rate_card"]
        self.accounts: Accounts = files["accounts"]
        self.close: Close = files["close"]
        self.budgets: Budgets = files["budgets"]
        self.alerts: Alerts = files["alerts"]

    def refuse(self, file: str, loc: Loc, what: str, fix: str) -> None:
        self.reasons.append(Refused(what, f"{file}.yaml:{line_of(self.trees.get(file), loc)}", fix))

    def all(self) -> list[Refused]:
        self.check_company()
        self.check_teams()
        self.check_sources()
        self.check_prices()
        self.check_differences()
        self.check_budgets()
        self.check_channels()
        self.check_accounts()
        return self.reasons

    # names and dates -------------------------------------------------------------------------------------------------

    def unique(self, file: str, key: str, items: Iterable[Any], what: str) -> set[str]:
        seen: set[str] = set()
        for i, item in enumerate(items):
            name = getattr(item, "id", None) or item.name
            if name in seen:
                self.refuse(file, (key, i), f"two {what} are called {name}", "give each its own name")
            seen.add(name)
        return seen

    def known(self, file: str, loc: Loc, name: str | None, names: set[str], what: str, fix: str) -> None:
        if name is not None and name not in names:
            self.refuse(file, loc, f"unknown {what} {name}", fix)

    def known_pool(self, file: str, loc: Loc, name: str | None) -> None:
        self.known(file, loc, name, self.pools, "serving pool", "add it to teams.yaml under serving_pools")

    def in_order(self, file: str, dated: list[tuple[Loc, Dated]]) -> list[tuple[Loc, date, date]]:
        """The spans by their first day; a span without a day is refused."""
        spans = []
        for loc, one in dated:
            first, last = span(one)
            if first >= last:
                self.refuse(file, loc, "holds on no day", "`to` is the first day it no longer holds, after `from`")
            spans.append((loc, first, last))
        return sorted(spans, key=lambda s: s[1:])

    def apart(self, file: str, dated: list[tuple[Loc, Dated]], what: str) -> list[tuple[Loc, date, date]]:
        """No two of them hold on the same day; returns their spans in order."""
        spans = self.in_order(file, dated)
        for (_, _, before), (loc, after, _) in pairwise(spans):
            if after < before:
                self.refuse(file, loc, f"{what} overlap", "end one on the day the other starts")
        return spans

    def always(self, file: str, dated: list[tuple[Loc, Dated]], what: str) -> None:
        """Exactly one of them holds on every day."""
        spans = self.apart(file, dated, what)
        for (_, _, before), (loc, after, _) in pairwise(spans):
            if before < after:
                self.refuse(file, loc, f"{what}: nothing holds from {before} to {after}", "close the gap in the dates")
        if spans[0][1] != date.min:
            self.refuse(file, spans[0][0], f"{what}: nothing holds before {spans[0][1]}", "leave `from` out of the first")
        if max(s[2] for s in spans) != date.max:
            self.refuse(file, spans[-1][0], f"{what}: nothing holds from {spans[-1][2]}", "leave `to` out of the last")

    # files -----------------------------------------------------------------------------------------------------------

    def check_company(self) -> None:
        company = self.company
        self.entities = self.unique("company", "legal_entities", company.legal_entities, "legal entities")
        self.centers = self.unique("company", "cost_centers", company.cost_centers, "cost centers")
        for i, center in enumerate(company.cost_centers):
            self.known("company", ("cost_centers", i, "legal_entity"), center.legal_entity, self.entities, "legal entity", "add it under legal_entities")  # fmt: skip
        self.known("company", ("platform_team",), company.platform_team, {team.id for team in self.teams.teams}, "team", "name a team of teams.yaml")  # fmt: skip
        self.check_calendar(company.calendar)

    def check_calendar(self, calendar: Calendar) -> None:
        """Every day in one period, and nothing left to guess."""
        loc, known = ("calendar",), len(self.reasons)
        said = [key for key in ("weeks", "periods", "fiscal_year_starts_in") if getattr(calendar, key) is not None]
        for key in said[1:]:
            self.refuse("company", (*loc, key), f"{key} says what {said[0]} says otherwise", "keep one of the two")
        if calendar.weeks:
            for before, year in pairwise(calendar.weeks.years):
                if year != before + 1:
                    self.refuse("company", (*loc, "weeks", "years", year), f"year {year} follows {before}", "name every year, in order")
        for i, one in enumerate(calendar.periods or []):
            if one.start >= one.end:
                self.refuse("company", (*loc, "periods", i), f"{one.label} has no day", "`to` is the first day of the next period")
        for before, (i, one) in pairwise(enumerate(calendar.periods or [])):
            self.check_next_period((*loc, "periods", i), before[1], one)
        if len(self.reasons) > known:
            return
        if calendar.last_day and calendar.first_period not in (labels := [period.label for period in calendar.all()]):
            self.refuse("company", (*loc, "first_period"), f"no period is called {calendar.first_period}", f"name one of {labels[0]} to {labels[-1]}")
        elif calendar.ends_on and calendar.holding(calendar.ends_on) is None:
            outside = "is in no period" if calendar.until(calendar.ends_on) else "ends before the first period"
            self.refuse("company", (*loc, "ends_on"), outside, "correct one of the two")

    def check_next_period(self, loc: Loc, before: DatedPeriod, one: DatedPeriod) -> None:
        """A period begins where the one before ends, and is called after the next month."""
        if one.start != before.end:
            what = "overlaps" if one.start < before.end else f"leaves out {before.end} to {one.start - timedelta(days=1)} after"
            self.refuse("company", loc, f"{one.label} {what} {before.label}", f"begin it on {before.end}, where {before.label} ends")
        if one.label != (wanted := next_label(before.label)):
            self.refuse("company", loc, f"{one.label} comes after {before.label}", f"call it {wanted}: labels count on month by month")

    def check_teams(self) -> None:
        file = self.teams
        team_ids = self.unique("teams", "teams", file.teams, "teams")
        projects = self.unique("teams", "projects", file.projects, "projects")
        self.indexes = self.unique("teams", "vector_indexes", file.vector_indexes, "vector indexes")
        self.pools = self.unique("teams", "serving_pools", file.serving_pools, "serving pools")
        holders: dict[tuple[str, str], list[tuple[Loc, Belonging]]] = defaultdict(list)
        for i, team in enumerate(file.teams):
            if team.id == "unallocated":
                self.refuse("teams", ("teams", i, "id"), "unallocated is a reserved name", "name the team differently")
            centers = self.dated_ids(("teams", i, "cost_center"), team.cost_center, self.centers, "cost center")
            self.always("teams", centers, f"cost centers of {team.id}")
            self.always("teams", [(("teams", i, "mode"), mode) for mode in team.mode], f"modes of {team.id}")
            for j, belonging in enumerate(team.belongs):
                loc = ("teams", i, "belongs", j)
                holders[belonging.key].append((loc, belonging))
                self.known("teams", (*loc, "project"), belonging.project, projects, "project", "add it under projects")
        for (kind, value), claims in holders.items():
            self.one_owner(f"claims to {kind} {value}", claims)
        for i, project in enumerate(file.projects):
            self.known("teams", ("projects", i, "team"), project.team, team_ids, "team", "add it under teams")
        for i, index in enumerate(file.vector_indexes):
            owners = self.dated_ids(("vector_indexes", i, "team"), index.team or [], team_ids, "team")
            self.apart("teams", owners, f"owners of {index.id}")
        for i, pool in enumerate(file.serving_pools):
            self.always("teams", [(("serving_pools", i, "token_weights"), w) for w in pool.token_weights], f"token weights of {pool.id}")

    def one_owner(self, what: str, claims: list[tuple[Loc, Belonging]]) -> None:
        """Of all claims that may hold for one call, one says everything that the others say, and more."""
        alike: dict[frozenset[tuple[str, str]], list[tuple[Loc, Dated]]] = defaultdict(list)
        for loc, claim in claims:
            alike[claim.said].append((loc, claim))
        for said, dated in alike.items():
            self.apart("teams", dated, what + "".join(f", {name} {value}," for name, value in sorted(said)))
        for (_, one), (loc, other) in combinations(claims, 2):
            together = dict(one.said | other.said)
            contradict = len(together) < len(one.said | other.said)
            apart = span(one)[1] <= span(other)[0] or span(other)[1] <= span(one)[0]
            if not (contradict or apart or one.said <= other.said or other.said <= one.said):
                names = " and ".join(f"{name} {value}" for name, value in sorted(together.items()))
                self.refuse("teams", loc, f"{what}: a call with {names} has two owners", "let one of the claims say all of it")

    def dated_ids(self, loc: Loc, values: list[DatedId], names: set[str], what: str) -> list[tuple[Loc, Dated]]:
        """Each value with its place, once its name is known to exist."""
        placed = [((*loc, j), value) for j, value in enumerate(values)]
        for place, value in placed:
            self.known("teams", place, value.id, names, what, "add it, or correct its name")
        return placed

    def check_sources(self) -> None:
        file = self.sources
        for kind, key in KINDS.items():
            sources = getattr(file, key)
            self.unique("sources", key, sources, f"{key} sources")
            for i, source in enumerate(sources):
                found = self.check_format((key, i, "format"), source.format, kind)
                if found and found.needs_account and source.billing_account_id is None:
                    self.refuse("sources", (key, i), f"{source.name}: its files name no account", "add billing_account_id")
        names: dict[tuple[str, str], list[tuple[Loc, Dated]]] = defaultdict(list)
        for i, meaning in enumerate(file.models):
            if not all(day is None or self.company.calendar.begins_period(day) for day in (meaning.start, meaning.end)):
                self.refuse("sources", ("models", i), "a name means one model for a whole period", "date it on its first day")
            names[meaning.provider, meaning.logged.lower()].append((("models", i), meaning))
        for (provider, logged), dated in names.items():
            self.apart("sources", dated, f"meanings of {provider} {logged}")
        for i, gateway in enumerate(file.gateways):
            for name, pool in gateway.serving.items():
                self.known_pool("sources", ("gateways", i, "serving", name), pool)
        records: dict[tuple[str, str], list[tuple[Loc, Dated]]] = defaultdict(list)
        for i, bill in enumerate(file.billing):
            loc = ("billing", i)
            self.known("sources", (*loc, "legal_entity"), bill.legal_entity, self.entities, "legal entity", "name one of company.yaml")
            records[bill.provider, bill.billing_account_id or "all accounts"].append(((*loc, "record"), bill.record))
            if bill.format == "mapped_bill":
                self.check_map((*loc, "fields"), bill_problems(bill.fields or {}))
            for j, rule in enumerate(bill.activities):
                self.known_pool("sources", (*loc, "activities", j, "serving_pool"), rule.serving_pool)
                self.known("sources", (*loc, "activities", j, "vector_index_id"), rule.vector_index_id, self.indexes, "vector index", "add it to teams.yaml under vector_indexes")  # fmt: skip
        for (provider, account), dated in records.items():
            self.apart("sources", dated, f"two sources of record for {provider} {account}")
        clusters: dict[str, str] = {}
        for i, gpu in enumerate(file.gpu):
            loc = ("gpu", i)
            if gpu.format != "vllm" and clusters.setdefault(gpu.cluster, gpu.name) != gpu.name:  # a model server's counters hold no card
                self.refuse("sources", (*loc, "cluster"), f"two sources of record for cluster {gpu.cluster}", f"keep it or {clusters[gpu.cluster]}")  # fmt: skip
            for key in ("serving_namespaces", "serving"):
                for name, pool in getattr(gpu, key).items():
                    self.known_pool("sources", (*loc, key, name), pool)
            if gpu.format == "mapped_gpu":
                self.check_map((*loc, "fields"), gpu_problems(gpu.fields or {}))

    def check_map(self, loc: Loc, problems: Iterable[tuple[str, str, str]]) -> None:
        for name, what, fix in problems:
            self.refuse("sources", (*loc, name), what, fix)

    def check_format(self, loc: Loc, name: str, kind: str) -> Format | None:
        """The format, where there is one of this name."""
        try:
            found = registry.find(name)
        except Refused as refused:
            self.refuse("sources", loc, refused.what, refused.fix)
            return None
        if found.kind != kind:
            self.refuse("sources", loc, f"{name} reads {found.kind} files, not {kind}", f"move the source under {found.kind}")
        return found

    def check_prices(self) -> None:
        contracts, card = self.contracts, self.rate_card
        self.unique("contracts", "discounts", contracts.discounts, "discounts")
        self.unique("contracts", "private_prices", contracts.private_prices, "private prices")
        self.unique("contracts", "volume_tiers", contracts.volume_tiers, "volume tiers")
        groups: dict[str, list[tuple[Loc, Dated]]] = defaultdict(list)
        for i, discount in enumerate(contracts.discounts):
            scope = (discount.provider, discount.service, discount.model, discount.meter)
            said = " ".join(name for name in scope if name) or "everything"
            groups[f"discounts of {said}"].append((("discounts", i), discount))
        for key in ("private_prices", "volume_tiers"):
            for i, price in enumerate(getattr(contracts, key)):
                groups[f"prices of {price.provider} {price.model} {price.meter}"].append(((key, i), price))
        self.check_contracts()
        self.check_months()
        for i, cards in enumerate(contracts.gpu_capacity):
            self.in_order("contracts", [(("gpu_capacity", i), cards)])
            self.known("contracts", ("gpu_capacity", i, "legal_entity"), cards.legal_entity, self.entities, "legal entity", "name one of company.yaml")  # fmt: skip
        for words, dated in groups.items():
            self.apart("contracts", dated, words)
        self.check_rate_card(card)

    def check_contracts(self) -> None:
        """Contracts that bills show: an id once in all of them, a provider that is billed, days on which they hold."""
        billed = {bill.provider for bill in self.sources.billing}
        seen: set[str] = set()
        for key, listed in self.contracts.on_bills.items():
            for i, contract in enumerate(listed):
                if contract.id in seen:
                    self.refuse("contracts", (key, i), f"two contracts are called {contract.id}", "give each its own name")
                seen.add(contract.id)
                self.known("contracts", (key, i, "provider"), contract.provider, billed, "provider", "name one of sources.yaml that sends a bill")
                self.in_order("contracts", [((key, i), contract)])

    def check_months(self) -> None:
        """What a vendor counts by its own month can only be told apart by periods that are calendar months."""
        if self.company.calendar.is_monthly:
            return
        for key in ("volume_tiers", "minimums", "fees"):
            for i, contract in enumerate(getattr(self.contracts, key)):
                what = f"{contract.id} goes by the vendor's calendar month, and the periods of company.yaml are no calendar months"
                self.refuse("contracts", (key, i), what, "keep calendar months (fiscal_year_starts_in names their fiscal year), or leave it to the bill")

    def check_accounts(self) -> None:
        file = self.accounts
        seen: set[tuple[str | None, ...]] = set()
        for i, one in enumerate(file.overrides):
            self.known("accounts", ("overrides", i, "legal_entity"), one.legal_entity, self.entities, "legal entity", "name one of company.yaml")
            scope = (one.activity, one.environment, one.legal_entity)
            if scope in seen:
                said = " ".join(part for part in scope if part)
                self.refuse("accounts", ("overrides", i), f"two accounts for {said}", "keep one")
            seen.add(scope)
        home_of = {center.id: center.legal_entity for center in self.company.cost_centers}
        for entity, center in file.recovery_cost_centers.items():
            if home_of.get(center) != entity:
                self.refuse("accounts", ("recovery_cost_centers", entity), f"{center} is no cost center of {entity}", "name one of company.yaml")
        for i, journal in enumerate(file.journals):
            if journal.erp in {other.erp for other in file.journals[:i]}:
                self.refuse("accounts", ("journals", i), f"{journal.erp} is named twice", "keep one")
            for key in ("companies", "ledgers"):
                for entity in getattr(journal, key):
                    self.known("accounts", ("journals", i, key, entity), entity, self.entities, "legal entity", "name one of company.yaml")
            if journal.erp == "oracle" and (missing := sorted(self.entities - set(journal.ledgers))):
                self.refuse("accounts", ("journals", i), f"oracle knows no ledger of {', '.join(missing)}", "add `ledgers: {<legal entity>: <ledger id>}`")
        if file.journals:
            self.check_journal_accounts()

    def check_journal_accounts(self) -> None:
        """A journal can be posted only where every line has its account, and a recovery its cost center."""
        file, between = self.accounts, ("due_from", "due_to") if len(self.entities) > 1 else ()
        missing = [f"expense.{activity}" for activity in ACTIVITIES if activity not in file.expense]
        missing += [name for name in ("recovery", "accrued", *between) if getattr(file, name) is None]
        if missing:
            self.refuse("accounts", ("journals",), f"journals need an account for {', '.join(missing)}", "add them, or remove `journals`")
        buyers = {bill.legal_entity for bill in self.sources.billing} | {g.legal_entity for g in self.contracts.gpu_capacity if g.legal_entity}
        home_of = {center.id: center.legal_entity for center in self.company.cost_centers}
        platform = {home_of.get(c.id) for t in self.teams.teams if t.id == self.company.platform_team for c in t.cost_center}
        if platform and (homeless := sorted(buyers - platform - set(file.recovery_cost_centers))):
            fix = "add `recovery_cost_centers: {<legal entity>: <cost center>}`"
            self.refuse("accounts", ("journals",), f"no cost center takes the recovery of {', '.join(homeless)}, which buys", fix)

    def check_rate_card(self, card: RateCard) -> None:
        self.unique("rate_card", "lines", card.lines, "rate-card lines")
        self.apart("rate_card", [(("gpu_equivalents", i), e) for i, e in enumerate(card.gpu_equivalents)], "GPU equivalents")
        clusters = {cards.cluster for cards in self.contracts.gpu_capacity} | {gpu.cluster for gpu in self.sources.gpu}
        team_ids = {team.id for team in self.teams.teams}
        for i, line in enumerate(card.lines):
            at, covers = ("lines", i, "covers"), line.covers
            if line.meter not in SELLS[covers.kind]:
                self.refuse("rate_card", ("lines", i, "meter"), f"{line.meter} of {covers.what} cannot be sold", f"use {', '.join(SELLS[covers.kind])}")
            elif line.unit not in SOLD[line.meter]:
                self.refuse("rate_card", ("lines", i, "unit"), f"{line.meter} cannot be sold per {line.unit}", f"use {', '.join(SOLD[line.meter])}")
            self.known_pool("rate_card", (*at, "serving_pool"), covers.serving_pool)
            self.known("rate_card", (*at, "cluster"), covers.cluster, clusters, "cluster", "name one of contracts.yaml or sources.yaml")
            self.known("rate_card", (*at, "vector_index"), covers.vector_index, self.indexes, "vector index", "add it to teams.yaml under vector_indexes")  # fmt: skip
            own: dict[str, list[tuple[Loc, Dated]]] = defaultdict(list)
            for j, rate in enumerate(line.teams):
                self.known("rate_card", ("lines", i, "teams", j, "team"), rate.team, team_ids, "team", "name a team of teams.yaml")
                own[rate.team].append((("lines", i, "teams", j), rate))
            for team, dated in own.items():
                self.apart("rate_card", dated, f"rates of {line.id} for {team}")
            self.in_order("rate_card", [(("lines", i), line)])
            self.check_equivalents(i, line, card)
        for (_, one), (j, other) in combinations(enumerate(card.lines), 2):
            if _together(one, other):
                self.check_two_lines(("lines", j, "meter"), one, other)
        for i, line in enumerate(card.lines):
            if line.covers.kind == "model":
                self.check_whole_model(i, line, card)

    def check_two_lines(self, loc: Loc, one: RateLine, other: RateLine) -> None:
        """Two lines that hold on the same day do not sell the same use, and one thing is sold as one service."""
        if _same_use(one, other):
            what = other.meter if one.meter == other.meter else f"{one.meter} and {other.meter}"
            fix = f"line {one.id} sells it too: end one on the day the other starts"
            self.refuse("rate_card", loc, f"rates for {what} of {other.covers.what} overlap", fix)
        elif one.covers == other.covers and one.service != other.service and one.covers.kind in ("serving_pool", "model"):
            what = f"{other.covers.what} is sold as {one.service} and as {other.service}"
            self.refuse("rate_card", (*loc[:2], "service"), what, "give both lines one service")

    def check_whole_model(self, i: int, line: RateLine, card: RateCard) -> None:
        """Every kind of a covered model's tokens has a rate on each day: what has none would be free."""
        lines = [other for other in card.lines if other.covers == line.covers]
        first, last = span(line)
        for day in {first, *(span(other)[1] for other in lines)}:
            sold = {other.meter for other in lines if span(other)[0] <= day < span(other)[1]}
            if first <= day < last and "tokens" not in sold and not {"input", "output"} <= sold and not set(TOKEN_METERS) <= sold:
                what = f"not every token of {line.covers.what} has a rate"
                self.refuse("rate_card", ("lines", i, "meter"), what, "sell `tokens`, or `input` and `output`")
                return

    def check_equivalents(self, i: int, line: RateLine, card: RateCard) -> None:
        """Every card that stands in a cluster sold by equivalents has one on each of those days."""
        if line.unit != "equivalent GPU-hour":
            return
        for cards in self.contracts.gpu_capacity:
            first, last = max(span(cards)[0], span(line)[0]), min(span(cards)[1], span(line)[1])
            if cards.cluster != line.covers.cluster or first >= last:
                continue
            for start, end in sorted(span(e) for e in card.gpu_equivalents if cards.gpu_model in e.gpus):
                first = end if start <= first < end else first
            if first < last:
                what = f"no equivalent of {cards.gpu_model}, which stands in {cards.cluster}"
                self.refuse("rate_card", ("lines", i, "unit"), what, "add it under gpu_equivalents")

    def check_differences(self) -> None:
        stated: dict[str, list[tuple[Loc, Dated]]] = defaultdict(list)
        for i, difference in enumerate(self.close.differences):
            stated[difference.provider or "all vendors"].append((("differences", i), difference))
        for name, dated in stated.items():
            self.apart("close", dated, f"differences of {name}")

    def check_budgets(self) -> None:
        teams = {team.id for team in self.teams.teams} | {"unallocated"}
        self.unique("budgets", "budgets", self.budgets.budgets, "budgets")
        for i, budget in enumerate(self.budgets.budgets):
            self.in_order("budgets", [(("budgets", i), budget)])
            self.check_scope(("budgets", i), budget)
        self.unique("budgets", "unit_economics", self.budgets.unit_economics, "units")
        for i, unit in enumerate(self.budgets.unit_economics):
            self.in_order("budgets", [(("unit_economics", i), unit)])
            self.check_scope(("unit_economics", i), unit)
        for i, candidate in enumerate(self.budgets.candidates):
            self.known("budgets", ("candidates", i, "team"), candidate.team, teams, "team", "name a team of teams.yaml")
            self.known_pool("budgets", ("candidates", i, "instead", "serving_pool"), candidate.instead.serving_pool)
        self.in_order("budgets", [(("embeddings", i), job) for i, job in enumerate(self.budgets.embeddings)])
        self.in_order("budgets", [(("commitment_offers", i), offer) for i, offer in enumerate(self.budgets.commitment_offers)])
        grown: dict[str, list[tuple[Loc, Dated]]] = defaultdict(list)
        for i, growth in enumerate(self.budgets.growth):
            self.known("budgets", ("growth", i, "team"), growth.team, teams, "team", "name a team of teams.yaml")
            grown[growth.team].append((("growth", i), growth))
        for team, dated in grown.items():
            self.apart("budgets", dated, f"growth of {team}")

    def check_scope(self, loc: Loc, scoped: Scoped) -> None:
        """Teams and pools that exist; projects, applications and environments are whatever the calls say."""
        teams = {team.id for team in self.teams.teams} | {"unallocated"}
        for field, value in scoped.scope:
            if field == "team":
                self.known("budgets", (*loc, field), value, teams, "team", "name a team of teams.yaml")
            if field == "pool" and self.cost_pools is not None:
                self.known("budgets", (*loc, field), value, self.cost_pools, "pool", "name a pool of allocation.yaml")

    def check_channels(self) -> None:
        self.unique("alerts", "channels", self.alerts.channels, "channels")
        for i, channel in enumerate(self.alerts.channels):
            self.in_order("alerts", [(("channels", i), channel)])


def _together(one: Dated, other: Dated) -> bool:
    return span(one)[0] < span(other)[1] and span(other)[0] < span(one)[1]


def _same_use(one: RateLine, other: RateLine) -> bool:
    """Whether both lines sell some of the same use, dates apart."""
    if one.covers.kind != other.covers.kind:
        return False
    if one.covers.kind == "vector_index":
        same = one.covers.vector_index == other.covers.vector_index or "all" in (one.covers.vector_indexes, other.covers.vector_indexes)
        vendors = {one.covers.provider, other.covers.provider}
        if "queries" in (one.meter, other.meter):  # what was searched says nothing of whose bill it is
            return same and {one.meter, other.meter} <= {"queries", "read_units"}
        return same and one.meter == other.meter and (None in vendors or len(vendors) == 1)
    return one.covers == other.covers and (one.meter == other.meter or "tokens" in (one.meter, other.meter))
