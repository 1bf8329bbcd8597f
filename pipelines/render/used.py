"""How well a team's calls of models and its indexes were used, and how far its budgets go: for statements, workbooks and digests."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import duckdb

from pipelines.render import figures
from pipelines.render.figures import Row

BUDGET_WORDS = {
    "within": "Within", "at_threshold": "Threshold reached", "over": "Over", "over_without_amount": "Cost without an amount", "unused": "Not used",
}  # fmt: skip
VERDICTS = {
    "cheaper": "cheaper", "cheaper_but_worse": "cheaper, with worse answers", "dearer": "dearer", "dearer_but_better": "dearer, with better answers",
    "unchanged": "unchanged", "new": "new", "n/a": "n/a",
}  # fmt: skip
_MEASURES = (
    ("Charged for calls of models", "cost", "money"),
    ("Cost per 1M tokens", "cost_per_million_tokens", "money"),
    ("Cost per successful call", "cost_per_success", "rate"),
    ("Tokens per successful call", "tokens_per_success", "count"),
    ("Lost to failed attempts", "waste_percent", "percent"),
    ("Input read from prompt caches", "token_cache_hit_percent", "percent"),
    ("Input that is system prompt", "system_prompt_percent", "percent"),
    ("Calls answered by the gateway's cache", "request_cache_hit_percent", "percent"),
    ("Below public list prices", "savings_percent", "percent"),
)  # fmt: skip
_IF_TOLD = ("system_prompt_percent",)  # few calls say it: left out where none does
_RETRIEVAL = (
    ("Vector indexes, all that they cost", "cost", "money"),
    ("Embedding new documents", "new_embedding_cost", "money"),
    ("Embedding documents again", "re_embedding_cost", "money"),
    ("Embedding, not known which", "unknown_embedding_cost", "money"),
    ("Preparing and cleaning documents", "clean_up_cost", "money"),
    ("Cost per search", "cost_per_query", "rate"),
    ("Cost per document", "cost_per_document", "rate"),
)  # fmt: skip
_QUEUE = (
    ("GPU jobs that started", "jobs", "count"),
    ("Minutes waited for GPUs, mean", "mean_queue_minutes", "minutes"),
    ("Minutes waited for GPUs, P95", "p95_queue_minutes", "minutes"),
)
EXPLAINED = (
    "Cost is in {currency}, what the team is charged for calls of its models, failed and repeated ones included; tokens are all that gateways logged. Lost: the part of it that failed attempts cost at"
    " our prices. Embeddings have no output and stand apart. n/a: there is nothing to divide by, or no price is known."
)


@dataclass(frozen=True)
class Measure:
    """One figure of a team; None is not known. `kind`: money, rate, count, minutes or percent."""

    label: str
    kind: str
    now: Decimal | None
    before: Decimal | None
    embeddings: Decimal | None = None


@dataclass(frozen=True)
class Used:
    """What is known of one team and month; `measures` is empty where it called no model, `beside` where it carries no vector index and started no GPU job."""

    currency: str
    measures: tuple[Measure, ...]
    beside: tuple[Measure, ...]
    has_before: bool
    has_embeddings: bool
    budgets: tuple[Row, ...]
    forecast: Row | None  # None once the month is over

    @property
    def explained(self) -> str:
        return EXPLAINED.format(currency=self.currency)


def of_team(con: duckdb.DuckDBPyConnection, period: str, team_id: str) -> Used | None:
    """None where nothing at all is known, as in a database that was published before these tables were."""
    found = efficiency(con, period, team_id)
    budgets, expected = budgets_of(con, period, team_id), _forecast(con, period, team_id)
    retrieval = _by_month(con, "rag_costs", "t.indexes > 0", period, team_id)
    queue = _by_month(con, "gpu_queue", "t.usage_date is null and t.cluster = '*'", period, team_id)
    if not any((found, budgets, expected, retrieval, queue)):
        return None
    now, before, embeddings = found.get((period, "inference"), {}), found.get(("", "inference"), {}), found.get((period, "embedding"), {})
    shown = [one for one in _MEASURES if one[1] not in _IF_TOLD or any(row.get(one[1]) is not None for row in (now, before))]
    measures = [Measure(label, kind, now.get(key), before.get(key), embeddings.get(key)) for label, key, kind in shown] if now or embeddings else []
    beside = (*_beside(_RETRIEVAL, retrieval, period), *_beside(_QUEUE, queue, period))
    currency = next((one["currency"] for one in (*found.values(), *budgets, *retrieval.values()) if one["currency"]), "")
    return Used(currency, tuple(measures), beside, bool(before), bool(embeddings), tuple(budgets), expected)


def _beside(measures: tuple[tuple[str, str, str], ...], found: dict[str, Row], period: str) -> tuple[Measure, ...]:
    """The measures of this month and the one before; none where this month has no row."""
    if period not in found:
        return ()
    now, before = found[period], next((row for month, row in found.items() if month != period), {})
    return tuple(Measure(label, kind, now[key], before.get(key)) for label, key, kind in measures)


def _by_month(con: duckdb.DuckDBPyConnection, table: str, which: str, period: str, team_id: str) -> dict[str, Row]:
    """The team's row of a table by month, of this month and the one before; `which` is the condition that leaves one row a month."""
    if not figures.has(con, table):
        return {}
    found = figures.rows(
        con,
        f"""
        select t.*
        from periods p
        left join periods n on n.ends_on = p.starts_on
        join {table} t on t.period in (p.period, n.period) and t.team_id = $team_id
        where p.period = $period and {which}
        """,
        period=period,
        team_id=team_id,
    )
    return {one["period"]: one for one in found}


def efficiency(con: duckdb.DuckDBPyConnection, period: str, team_id: str) -> dict[tuple[str, str], Row]:
    """By (period, activity); the month before has the period ''."""
    if not figures.has(con, "efficiency"):
        return {}
    found = figures.rows(
        con,
        """
        select case when e.period = p.period then e.period else '' end as month, e.*
        from periods p
        left join periods n on n.ends_on = p.starts_on
        join efficiency e on e.period in (p.period, n.period) and e.scope = 'team' and e.team_id = $team_id
        where p.period = $period
        """,
        period=period,
        team_id=team_id,
    )
    return {(one["month"], one["activity"]): one for one in found}


def budgets_of(con: duckdb.DuckDBPyConnection, period: str, team_id: str) -> list[Row]:
    """The budgets that the team draws on, the most used first; `share_percent` is its part of what is drawn."""
    if not figures.has(con, "budget_status") or not figures.has(con, "budget_draws"):
        return []
    found = figures.rows(
        con,
        """
        select b.*, d.share_percent
        from budget_status b
        join budget_draws d on d.budget_id = b.budget_id and d.for_project = b.for_project and d.period = b.period
        where b.period = $period and d.team_id = $team_id
        order by b.consumed_percent desc nulls first, b.budget_id, b.for_project
        """,
        period=period,
        team_id=team_id,
    )
    return [with_words(one) for one in found]


def with_words(budget: Row) -> Row:
    """A budget with its title, the word for its state, whether that is good, and its mark."""
    good = budget["state"] in ("within", "unused")
    word = BUDGET_WORDS[budget["state"]]
    if budget["state"] == "at_threshold" and budget["threshold_percent"] is not None:
        word += f" ({budget['threshold_percent']}%)"
    mark = "✓" if good else "✗" if budget["state"].startswith("over") else "!"
    return {**budget, "title": " – ".join(part for part in (budget["name"], budget["for_project"]) if part), "word": word, "good": good, "mark": mark}


def _forecast(con: duckdb.DuckDBPyConnection, period: str, team_id: str) -> Row | None:
    if not figures.has(con, "forecast"):
        return None
    found = figures.rows(
        con,
        "from forecast where scope = 'team' and scope_id = $team_id and period = $period and method = 'last_7_days' and basis <> 'actual' order by as_of desc limit 1",
        period=period,
        team_id=team_id,
    )
    return found[0] if found else None
