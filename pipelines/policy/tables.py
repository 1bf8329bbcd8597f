"""The policy as temp tables policy_*: what the SQL joins. Dates are half-open: valid_from is in, valid_to is not."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from pipelines.policy.checks import span
from pipelines.policy.files import (
    Belonging,
    Close,
    Condition,
    Contracts,
    Difference,
    LineTexts,
    Prepaid,
    Term,
    TokenWeights,
    VectorIndex,
    VolumeTiers,
)
from pipelines.prices import NO_LIMIT
from pipelines.sources import KINDS
from pipelines.warehouse import remembered

if TYPE_CHECKING:
    from pipelines.policy import Policy

_DATES = "valid_from date, valid_to date"
LIMITS = ("action", "percent", "amount", "tokens", "calls", "minutes", "hours", "days", "points", "score", "jobs")
COLUMNS = {
    "company": "name varchar, currency varchar, platform_team varchar",
    "legal_entities": "legal_entity varchar, name varchar",
    "cost_centers": "cost_center varchar, name varchar, legal_entity varchar",
    "teams": "team_id varchar, name varchar, owner varchar",
    "team_cost_centers": f"team_id varchar, cost_center varchar, legal_entity varchar, {_DATES}",
    "team_modes": f"team_id varchar, mode varchar, {_DATES}",
    "belongs": "kind varchar, value varchar, team_id varchar, project_id varchar, when_project varchar, when_application varchar,"
    f" when_environment varchar, when_customer varchar, conditions integer, {_DATES}",
    "projects": "project_id varchar, team_id varchar, application varchar",
    "vector_indexes": f"vector_index_id varchar, name varchar, team_id varchar, {_DATES}",
    "serving_pools": "serving_pool varchar, name varchar, cluster varchar",
    "token_weights": f"serving_pool varchar, meter varchar, weight decimal(12, 6), {_DATES}",
    "gateway_accounts": "source varchar, provider varchar, billing_account_id varchar",
    "gateway_serving": "source varchar, provider varchar, serving_pool varchar",
    "billing": "source varchar, provider varchar, billing_account_id varchar, legal_entity varchar, final_after_days integer, final_when varchar, vector_index_column varchar,"
    " record_from date, record_to date",
    "usage": "source varchar, provider varchar",
    "billing_scope": "source varchar, column_name varchar, value varchar",
    "activities": "source varchar, ord integer, activity varchar, serving_pool varchar, cluster varchar, vector_index_id varchar, service varchar,"
    " gpu_model varchar, capacity_type varchar, sku_meter varchar, resource_id varchar, charge_description varchar, sub_account_id varchar",
    "serving_namespaces": "source varchar, namespace varchar, serving_pool varchar",
    "serving_models": "source varchar, model_name varchar, serving_pool varchar",
    "discounts": f"discount_id varchar, provider varchar, service varchar, model varchar, meter varchar, percent decimal(9, 6), {_DATES}",
    "private_prices": f"price_id varchar, provider varchar, model varchar, meter varchar, per_token decimal(20, 12), {_DATES}",
    "volume_tiers": "contract_id varchar, provider varchar, model varchar, meter varchar, mode varchar, above hugeint, up_to hugeint,"
    f" per_token decimal(20, 12), {_DATES}",
    "contracts": "contract_id varchar, ord integer, kind varchar, provider varchar, billing_account_id varchar, service varchar,"
    " sku_meter varchar, resource_id varchar, charge_description varchar, sub_account_id varchar, since date,"
    f" spread_from date, spread_to date, {_DATES}",
    "contract_covers": "contract_id varchar, model varchar",
    "throughput": "contract_id varchar, tokens_per_unit_hour hugeint, output_weight decimal(12, 6), cache_read_weight decimal(12, 6)",
    "monthly": "contract_id varchar, kind varchar, amount decimal(38, 12), currency varchar, percent decimal(9, 6)",
    "gpu_capacity": "entry integer, cluster varchar, gpu_model varchar, capacity_type varchar, gpus integer, rate decimal(18, 12),"
    f" provider varchar, legal_entity varchar, {_DATES}",
    "gpu_rates": "entry integer, hour_of_day integer, rate decimal(18, 12)",
    "rate_card": "rate_card_id varchar, line_id varchar, service varchar, covers varchar, serving_pool varchar, cluster varchar,"
    " vector_index_id varchar, provider varchar, model varchar, meter varchar, unit varchar, per_unit hugeint, rate decimal(18, 12),"
    f" note varchar, {_DATES}",
    "team_rates": f"line_id varchar, team_id varchar, rate decimal(18, 12), {_DATES}",
    "gpu_equivalents": f"gpu_model varchar, equivalent decimal(12, 6), {_DATES}",
    "gl_accounts": "activity varchar, gl_account varchar",
    "gl_overrides": "activity varchar, environment varchar, legal_entity varchar, gl_account varchar, narrow integer",
    "journal_accounts": "recovery varchar, accrued varchar, due_from varchar, due_to varchar",
    "recovery_centers": "legal_entity varchar, cost_center varchar",
    "tolerances": "ord integer, provider varchar, quantity_percent decimal(9, 6), quantity_tokens decimal(18, 6), cost_percent decimal(9, 6),"
    f" cost_amount decimal(18, 12), drift_points decimal(9, 6), invoice_amount decimal(18, 12), close_percent decimal(9, 6), {_DATES}",
    "budgets": "budget_id varchar, name varchar, kind varchar, amount decimal(38, 12), unit varchar, rate decimal(18, 12), owner varchar,"
    f" review_on date, {_DATES}",
    "budget_scope": "budget_id varchar, field varchar, value varchar",
    "budget_thresholds": "budget_id varchar, percent integer, action varchar",
    "units": "unit_id varchar, name varchar, metric varchar, alternative decimal(38, 12), alternative_metric varchar, baseline decimal(38, 12),"
    f" target decimal(38, 12), {_DATES}",
    "unit_scope": "unit_id varchar, field varchar, value varchar",
    "candidates": "ord integer, provider varchar, model varchar, team_id varchar, application varchar, other_provider varchar, other_model varchar,"
    " serving_pool varchar",
    "embeddings": f"ord integer, documents varchar, request_type varchar, project_id varchar, application varchar, environment varchar, {_DATES}",
    "commitment_offers": f"ord integer, provider varchar, model varchar, percent decimal(9, 6), {_DATES}",
    "growth": f"team_id varchar, growth decimal(9, 6), {_DATES}",
    "alert_rules": "kind varchar, action varchar, percent decimal(9, 2), amount decimal(38, 12), tokens hugeint, calls bigint, minutes integer,"
    " hours integer, days integer, points decimal(9, 2), score decimal(9, 2), jobs bigint",
    "alert_exceptions": "kind varchar, name varchar",
    "channels": f"channel_id varchar, action varchar, kind varchar, to_owner boolean, {_DATES}",
    "sources": "kind varchar, source varchar, is_evidence boolean",
    "close": "true_up_bound decimal(9, 6), unallocated_percent decimal(9, 6), unpriced_tokens_percent decimal(9, 6),"
    " accrued_percent decimal(9, 6), materiality_amount decimal(18, 12), materiality_percent decimal(9, 6)",
}


def register(con: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """(Re)make every table of COLUMNS, as policy_<name>, from the policy; empty where it says nothing. Nothing where it is there already."""
    known = remembered(con)
    if known.get("policy") is policy:
        return
    known.pop("policy", None)
    for name, rows in rows_of(policy).items():
        con.execute(f"create or replace temp table policy_{name}({COLUMNS[name]})")
        if rows:
            texts = [pa.array([None if value is None else str(value) for value in column]) for column in zip(*rows, strict=True)]
            con.register("policy_rows", pa.table(texts, names=[f"c{i}" for i in range(len(texts))]))
            con.execute(f"insert into policy_{name} from policy_rows")
            con.unregister("policy_rows")
    known["policy"] = policy


def _conditions(one: Belonging) -> tuple[str | int | None, ...]:
    said = dict(one.said)
    return (*(said.get(name) for name in Condition.model_fields), len(said))


def rows_of(policy: Policy) -> dict[str, list[tuple[Any, ...]]]:
    """What the policy says, as the rows of COLUMNS."""
    company, teams, sources, contracts = policy.company, policy.teams, policy.sources, policy.contracts
    accounts = policy.accounts
    entity_of = {center.id: center.legal_entity for center in company.cost_centers}
    return {
        "company": [(company.name, company.currency, company.platform_team)],
        "legal_entities": [(entity.id, entity.name) for entity in company.legal_entities],
        "cost_centers": [(center.id, center.name, center.legal_entity) for center in company.cost_centers],
        "teams": [(team.id, team.name, team.owner) for team in teams.teams],
        "team_cost_centers": [(team.id, c.id, entity_of[c.id], *span(c)) for team in teams.teams for c in team.cost_center],
        "team_modes": [(team.id, mode.mode, *span(mode)) for team in teams.teams for mode in team.mode],
        "belongs": [(*one.key, team.id, one.project, *_conditions(one), *span(one)) for team in teams.teams for one in team.belongs],
        "projects": [(project.id, project.team, project.application) for project in teams.projects],
        "vector_indexes": [(index.id, index.name, *keeper) for index in teams.vector_indexes for keeper in _keepers(index)],
        "serving_pools": [(pool.id, pool.name, pool.cluster) for pool in teams.serving_pools],
        "token_weights": [row for pool in teams.serving_pools for weights in pool.token_weights for row in _weights(pool.id, weights)],
        "gateway_accounts": [(s.name, provider, account) for s in sources.gateways for provider, account in s.accounts.items()],
        "gateway_serving": [(s.name, provider, pool) for s in sources.gateways for provider, pool in s.serving.items()],
        "billing": [(s.name, s.provider, s.billing_account_id, s.legal_entity, s.final_after_days, s.final_when, s.vector_index_id, *span(s.record)) for s in sources.billing],
        "usage": [(s.name, s.provider) for s in sources.usage],
        "billing_scope": [(s.name, "sub_account_id", value) for s in sources.billing if s.scope for value in s.scope.sub_account_id],
        "activities": [
            (s.name, i, a.activity, a.serving_pool, a.cluster, a.vector_index_id, a.service, a.gpu_model, a.capacity_type, a.sku_meter,
             a.resource_id, a.charge_description, a.sub_account_id)
            for s in sources.billing
            for i, a in enumerate(s.activities)
        ],
        "serving_namespaces": [(s.name, namespace, pool) for s in sources.gpu for namespace, pool in s.serving_namespaces.items()],
        "serving_models": [(s.name, model, pool) for s in sources.gpu for model, pool in s.serving.items()],
        "discounts": [(d.id, d.provider, d.service, d.model, d.meter, d.off, *span(d)) for d in contracts.discounts],
        "private_prices": [
            (p.id, p.provider, p.model, p.meter, f"{p.per_million.scaleb(-6):f}", *span(p)) for p in contracts.private_prices
        ],
        "volume_tiers": [row for tiers in contracts.volume_tiers for row in _tiers(tiers)],
        "contracts": list(_contracts(contracts)),
        "contract_covers": [
            (c.id, model) for c in (*contracts.commitments, *contracts.throughput) if c.covers for model in c.covers.models
        ],
        "throughput": [(t.id, t.tokens_per_unit_hour, t.output_weight, t.cache_read_weight) for t in contracts.throughput],
        "monthly": [
            *((m.id, "minimum", m.amount, m.currency or company.currency, None) for m in contracts.minimums),
            *((f.id, "fee", f.amount, f.currency or company.currency, f.percent) for f in contracts.fees),
        ],
        "gpu_capacity": [
            (i, g.cluster, g.gpu_model, g.capacity_type, g.gpus, g.rate, g.provider, g.legal_entity, *span(g))
            for i, g in enumerate(contracts.gpu_capacity)
        ],
        "gpu_rates": [(i, hour, rate) for i, g in enumerate(contracts.gpu_capacity) for hour, rate in enumerate(g.hourly_rates)],
        "rate_card": [
            (policy.rate_card.id, r.id, r.service, r.covers.kind, r.covers.serving_pool, r.covers.cluster, r.covers.vector_index,
             r.covers.provider, r.covers.model, r.meter, r.unit, r.per_unit, r.rate, r.note, *span(r))
            for r in policy.rate_card.lines
        ],
        "team_rates": [(r.id, own.team, own.rate, *span(own)) for r in policy.rate_card.lines for own in r.teams],
        "gpu_equivalents": [
            (gpu_model, equivalent, *span(e)) for e in policy.rate_card.gpu_equivalents for gpu_model, equivalent in e.gpus.items()
        ],
        "gl_accounts": list(accounts.expense.items()),
        "gl_overrides": [
            (o.activity, o.environment, o.legal_entity, o.account, 2 * (o.environment is not None) + (o.legal_entity is not None))
            for o in accounts.overrides
        ],
        "journal_accounts": [(accounts.recovery, accounts.accrued, accounts.due_from, accounts.due_to)],
        "recovery_centers": list(accounts.recovery_cost_centers.items()),
        "tolerances": list(_tolerances(policy.close.differences)),
        "budgets": [
            (b.id, b.name or b.id, b.kind, b.amount, *((b.usage.unit, b.usage.rate) if b.usage else (None, None)), b.owner, b.review_on, *span(b))
            for b in policy.budgets.budgets
        ],
        "budget_scope": [(b.id, *scope) for b in policy.budgets.budgets for scope in b.scope],
        "budget_thresholds": [(b.id, t.percent, t.action) for b in policy.budgets.budgets for t in b.thresholds or policy.budgets.thresholds],
        "units": [
            (u.id, u.name or u.id, u.metric, u.alternative, u.alternative_metric, u.baseline, u.target, *span(u)) for u in policy.budgets.unit_economics
        ],
        "unit_scope": [(u.id, *scope) for u in policy.budgets.unit_economics for scope in u.scope],
        "candidates": [
            (i, c.provider, c.model, c.team, c.application, c.instead.provider, c.instead.model, c.instead.serving_pool)
            for i, c in enumerate(policy.budgets.candidates)
        ],
        "embeddings": [
            (i, e.documents, e.request_type, e.project, e.application, e.environment, *span(e)) for i, e in enumerate(policy.budgets.embeddings)
        ],
        "commitment_offers": [
            (i, o.provider, model, o.percent, *span(o)) for i, o in enumerate(policy.budgets.commitment_offers) for model in o.models
        ],
        "growth": [(g.team, g.factor, *span(g)) for g in policy.budgets.growth],
        "alert_rules": [(kind, *(getattr(rule, limit, None) for limit in LIMITS)) for kind, rule in policy.alerts.rules.items()],
        "alert_exceptions": [(kind, name) for kind, rule in policy.alerts.rules.items() for name in rule.unwatched],
        "channels": [
            (c.id, action, kind, c.to_owner, *span(c)) for c in policy.alerts.channels for action in c.actions for kind in c.kinds or [None]
        ],
        "sources": [(kind, s.name, kind == "usage" or s.format == "vllm") for kind, key in KINDS.items() for s in getattr(sources, key)],
        "close": [_close(policy.close)],
    }  # fmt: skip


def _tiers(tiers: VolumeTiers) -> Iterable[tuple[Any, ...]]:
    """Each tier with the tokens of a month that it is for: more than `above`, up to and with `up_to`."""
    above = 0
    for tier in tiers.tiers:
        price = f"{tier.per_million.scaleb(-6):f}"
        yield (tiers.id, tiers.provider, tiers.model, tiers.meter, tiers.mode, above, tier.up_to or NO_LIMIT, price, *span(tiers))
        above = tier.up_to or NO_LIMIT


def _contracts(contracts: Contracts) -> Iterable[tuple[Any, ...]]:
    """Every contract that bills show, with the days its lines may have (from `since`) and those its cost is spread over."""
    for i, c in enumerate(c for listed in contracts.on_bills.values() for c in listed):
        spread = c.spread if isinstance(c, Term) else (None, None)
        first, last = c.spread if isinstance(c, Term) else span(c)
        lines = [(c.kind, c.lines), ("drawn", c.drawn)] if isinstance(c, Prepaid) and c.drawn else [(c.kind, c.lines)]
        for kind, texts in lines:
            said = (getattr(texts, name) for name in LineTexts.model_fields)
            yield (c.id, i, kind, c.provider, c.billing_account_id, *said, texts.since or first, *spread, first, last)


def _close(close: Close) -> tuple[Any, ...]:
    tolerance, materiality = close.tolerance, close.materiality
    limits = (tolerance.unallocated_percent, tolerance.unpriced_tokens_percent, tolerance.accrued_percent)
    return (close.true_up_bound, *limits, materiality.amount, materiality.percent)


def _tolerances(stated: list[Difference]) -> Iterable[tuple[Any, ...]]:
    """What the policy states, a vendor's own before those for all, and last what holds where it states nothing."""
    ordered = [*(d for d in stated if d.provider), *(d for d in stated if not d.provider), Difference()]
    for ord_, d in enumerate(ordered):
        limits = (d.quantity_percent, d.quantity_tokens, d.cost_percent, d.cost_amount, d.drift_points, d.invoice_amount, d.close_percent)
        yield (ord_, d.provider, *limits, *span(d))


def _keepers(index: VectorIndex) -> list[tuple[str | None, date, date]]:
    """The team that keeps the index, with the days on which it does; one row without a team where nobody ever does."""
    return [(owner.id, *span(owner)) for owner in index.team or []] or [(None, date.min, date.max)]


def _weights(pool: str, weights: TokenWeights) -> Iterable[tuple[Any, ...]]:
    """Meters of ours and what their tokens weigh; reasoning weighs as output."""
    for meter, weight in (
        ("input_uncached", weights.input), ("cache_read", weights.cache_read), ("output", weights.output), ("reasoning", weights.output),
    ):  # fmt: skip
        yield (pool, meter, weight, *span(weights))
