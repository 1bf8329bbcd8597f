"""The page for those who build: what models cost and how well they were used, why they were chosen, caches, waiting, GPUs, indexes, and what could be saved."""

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
        mix=_mix(con, period), projects=_calls(con, period, "project")[:MOST], routes=_routes(con, period), conversations=_conversations(con, period),
        chains=_chains(con, period), latency=_latency(con, period), savings=_savings(con, period), clusters=clusters,
        cards=figures.rows(con, "from gpu_efficiency where period = $period order by cluster, gpu_model", period=period),
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


def _mix(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """The models that the money and the tokens of the company went to."""
    found = figures.rows(con, "from model_mix where scope = 'company' and period = $period order by rank", period=period)
    widths = html.widths([one["cost_percent"] or ZERO for one in found])
    return [{**one, "width": width} for one, width in zip(found, widths, strict=True)]


def _routes(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """Why gateways chose a model, at which metered cost, and how good the answers were that have a score."""
    found = figures.rows(
        con,
        """
        select
            r.routing_reason as reason, r.model, sum(r.events)::bigint as calls, sum(r.failures)::bigint as failures,
            sum(r.contracted_cost)::decimal(38, 12) as cost, sum(r.quality_sum)::decimal(38, 6) as scores, sum(r.quality_events)::bigint as scored
        from routing_daily r
        join periods p on r.usage_date >= p.starts_on and r.usage_date < p.ends_on
        where p.period = $period and r.routing_reason is not null
        group by all
        order by cost desc nulls last, calls desc, reason, r.model
        limit $most
        """,
        period=period,
        most=MOST,
    )
    return [{**one, "score": one["scores"] / one["scored"] if one["scored"] else None} for one in found]


def _conversations(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """What a conversation of each project cost at our prices, and how many times its first input the last one carried, where it had two turns or more."""
    found = figures.rows(
        con,
        """
        select
            concat_ws(' / ', c.team_id, coalesce(c.project_id, 'no project')) as name, sum(c.conversations)::bigint as conversations,
            sum(c.long_conversations)::bigint as long, sum(c.turns)::bigint as turns, max(c.most_turns) as most_turns,
            sum(c.first_input_tokens)::hugeint as first, sum(c.last_input_tokens)::hugeint as last, sum(c.contracted_cost)::decimal(38, 12) as cost
        from conversations_daily c
        join periods p on c.usage_date >= p.starts_on and c.usage_date < p.ends_on
        where p.period = $period
        group by all
        order by cost desc nulls last, conversations desc, name
        limit $most
        """,
        period=period,
        most=MOST,
    )
    return [
        {**one, "each": None if one["cost"] is None else one["cost"] / one["conversations"], "length": Decimal(one["turns"]) / one["conversations"],
         "growth": Decimal(int(one["last"])) / int(one["first"]) if one["first"] else None}
        for one in found
    ]  # fmt: skip


def _chains(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """Traces of several calls, by the models they went through, and what one of them cost at our prices."""
    found = figures.rows(
        con,
        """
        select
            c.chain, concat_ws(' / ', c.team_id, c.application) as whose, sum(c.traces)::bigint as traces, sum(c.calls)::bigint as calls,
            sum(c.failures)::bigint as failures, sum(c.contracted_cost)::decimal(38, 12) as cost
        from chains_daily c
        join periods p on c.usage_date >= p.starts_on and c.usage_date < p.ends_on
        where p.period = $period
        group by all
        order by cost desc nulls last, traces desc, c.chain, whose
        limit $most
        """,
        period=period,
        most=MOST,
    )
    return [{**one, "each": None if one["cost"] is None else one["cost"] / one["traces"]} for one in found]


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
        {**one, "subject": _subject(one), "word": _LEVERS.get(one["kind"], words.plain(one["kind"])), "width": width,
         "whose": " / ".join(part for part in (None if one["team_id"] == "*" else one["team_id"], one["project_id"] or one["application"]) if part)}
        for one, width in zip(found, widths, strict=True)
    ]  # fmt: skip


def _subject(lever: Row) -> str | None:
    """What a lever would change; the vendor of a commitment by the name that it gives itself."""
    if lever["subject"] and lever["kind"] in ("unused_commitment", "more_commitment"):
        return " ".join(words.vendor(word) or word for word in lever["subject"].split(" "))
    return lever["subject"]
