"""The page for those who build: what models cost and how well they were used, caches, waiting, GPUs, indexes, and what could be saved."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.render import figures, html, words
from pipelines.render.figures import ZERO, Row

MOST = 15
_USES = {
    "used": "Used", "unattributed": "Served, and not logged", "idle_reserved": "Held, and idle", "idle_stranded": "Beside slices of others",
    "idle_unallocated": "Held by nobody",
}  # fmt: skip
_LEVERS = {
    "model": "Another model", "own_model": "Our own model", "batch": "Batch tier", "prompt_cache": "Prompt cache", "failed_attempts": "Failed attempts",
    "idle_gpus": "Idle GPUs", "off_peak": "Cheapest hours", "unused_commitment": "Unused commitment",
    "more_commitment": "Commitment",
}  # fmt: skip


def page(con: duckdb.DuckDBPyConnection) -> str:
    """The HTML of reports/engineering.html, from the newest month."""
    newest = figures.rows(con, "select max(period) as period, max(currency) as currency from efficiency")[0]
    period = newest["period"]
    if period is None:
        return html.render("engineering.html.j2", period=None)
    as_of = figures.rows(con, "select max(as_of) as as_of from forecast where period = $period", period=period)[0]["as_of"]
    clusters = _clusters(con, period)
    return html.render(
        "engineering.html.j2",
        period=period, month=figures.period_name(con, period), as_of=as_of, currency=newest["currency"], tiles=_tiles(con, period, clusters), models=_calls(con, period, "model"),
        projects=_calls(con, period, "project")[:MOST], latency=_latency(con, period), savings=_savings(con, period), clusters=clusters,
        queues=_queues(con, period), own=figures.rows(con, "from self_hosting where period = $period order by serving_pool, model", period=period),
        indexes=figures.rows(con, "from index_unit_costs where period = $period order by cost desc", period=period),
        retrieval=figures.rows(con, "from rag_costs where period = $period and indexes > 0 order by team_id <> '*', cost desc, team_id", period=period),
        levers=_levers(con, period),
    )  # fmt: skip


def _tiles(con: duckdb.DuckDBPyConnection, period: str, clusters: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What calls of models cost and wasted, and how busy the GPUs were."""
    found = figures.rows(con, "from efficiency where scope = 'company' and activity = 'inference' and period = $period", period=period)
    one: Row = found[0] if found else defaultdict(lambda: None)
    used = sum((c["used"] for c in clusters), ZERO)
    hours = sum((c["hours"] for c in clusters), ZERO)
    return [
        {"label": "Per 1M tokens", "value": html.money(one["cost_per_million_tokens"]), "note": "of models without embeddings, input and output"},
        {"label": "Per success", "value": _small(one["cost_per_success"]), "note": f"{_count(one['tokens_per_success'])} tokens each"},
        {"label": "Input from prompt caches", "value": html.percent(one["token_cache_hit_percent"]), "note": f"and {html.percent(one['request_cache_hit_percent'])} of calls from the gateway's"},
        {"label": "Lost to failed attempts", "value": html.percent(one["waste_percent"]), "note": f"{_count(one['failures'])} of {_count(one['requests'])} calls failed"},
        {"label": "GPUs in use", "value": f"{used * 100 / hours:.1f}%" if hours else "n/a", "note": f"of {hours:,.0f} GPU-hours" if hours else "no GPU hours are known"},
    ]  # fmt: skip


def _small(amount: Decimal | None) -> str:
    return "n/a" if amount is None else f"{amount:,.4f}"


def _count(number: Decimal | int | None) -> str:
    return "no" if number is None else f"{number:,.0f}"


def _calls(con: duckdb.DuckDBPyConnection, period: str, scope: str) -> list[Row]:
    """Efficiency by model, or by project of a team; largest cost first."""
    return figures.rows(
        con,
        "select *, coalesce(model, concat_ws(' / ', team_id, coalesce(project_id, 'no project'))) as name from efficiency"
        " where period = $period and scope = $scope order by cost desc, name, activity",
        period=period,
        scope=scope,
    )


def _latency(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """For each project and model the worst day: percentiles of days are never averaged."""
    return figures.rows(
        con,
        """
        select
            concat_ws(' / ', l.team_id, coalesce(l.project_id, 'no project')) as name, l.model, sum(l.timed_calls)::bigint as calls,
            nullif(sum(l.contracted_cost), 0)::decimal(38, 12) as cost, min(l.latency_p95_ms) as best_ms, max(l.latency_p95_ms) as worst_ms,
            arg_max(l.usage_date, l.latency_p95_ms) as worst_day
        from latency_daily l
        join periods p on l.usage_date >= p.starts_on and l.usage_date < p.ends_on
        where p.period = $period and l.timed_calls >= 20
        group by all
        order by worst_ms desc, calls desc, name
        limit $most
        """,
        period=period,
        most=MOST,
    )


def _savings(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """What caches saved, by model; negative where writing cost more than reading saved."""
    return figures.rows(
        con,
        """
        select kind, model, sum(saved)::decimal(38, 12) as saved, sum(read_tokens)::hugeint as read_tokens, sum(written_tokens)::hugeint as written_tokens,
            sum(hits)::hugeint as hits, max(currency) as currency
        from cache_savings
        where period = $period
        group by all
        order by kind desc, saved desc nulls last, model
        """,
        period=period,
    )


def _clusters(con: duckdb.DuckDBPyConnection, period: str) -> list[dict[str, Any]]:
    """Hours and cost of each cluster by use."""
    found: dict[str, list[Row]] = defaultdict(list)
    for one in figures.rows(con, "from gpu_costs where period = $period order by cluster, use = 'used' desc, use", period=period):
        found[one["cluster"]].append({**one, "word": _USES.get(one["use"], one["use"])})
    clusters = []
    for name, uses in found.items():
        hours = sum((use["gpu_hours"] or ZERO for use in uses), ZERO)
        used = sum((use["gpu_hours"] or ZERO for use in uses if use["use"] == "used"), ZERO)
        cost = sum((use["effective_cost"] for use in uses), ZERO)
        clusters.append({"name": name, "uses": uses, "hours": hours, "used": used, "cost": cost, "share": f"{used * 100 / hours:.1f}%" if hours else "n/a"})
    return clusters


def _queues(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """How long jobs of each team waited for each cluster's GPUs in the month, and on the worst day; the longest first, a cluster's total before its teams."""
    return figures.rows(
        con,
        """
        select q.*, d.worst_minutes, d.worst_day
        from gpu_queue q
        left join (
            select period, cluster, team_id, max(p95_queue_minutes) as worst_minutes, arg_max(usage_date, p95_queue_minutes) as worst_day
            from gpu_queue
            where usage_date is not null
            group by all
        ) d on d.period = q.period and d.cluster = q.cluster and d.team_id = q.team_id
        where q.period = $period and q.usage_date is null and q.cluster <> '*'
        order by q.cluster, q.team_id <> '*', q.p95_queue_minutes desc nulls last, q.team_id
        """,
        period=period,
    )


def _levers(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    found = figures.rows(con, "from levers where period = $period order by rank limit $most", period=period, most=MOST)
    widths = html.widths([one["saving"] for one in found])
    return [
        {**one, "word": _LEVERS.get(one["kind"], words.plain(one["kind"])), "width": width,
         "whose": " / ".join(part for part in (None if one["team_id"] == "*" else one["team_id"], one["project_id"] or one["application"]) if part)}
        for one, width in zip(found, widths, strict=True)
    ]  # fmt: skip
