"""The policy in plain language, as `apportion policy`, statements and workbooks print it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from pipelines.allocation import rules, words
from pipelines.policy import Policy


def text(policy: Policy) -> str:
    """Pools in order with their rules, the rate card, and what a token weighs."""
    parts = [("How cost finds its owner: the first line that fits takes it", rules.tell(policy.allocation))]
    parts.append(("Sold at the rate card", [sentence for _, _, sentence in _rate_card(policy)]))
    parts.append(("Model servers of our own: what a token weighs", [f"{pool}: {sentence}" for pool, *_, sentence in token_weights(policy)]))
    return "\n\n".join("\n".join([heading, "", *lines]) for heading, lines in parts if lines)


def sentences(policy: Policy) -> list[tuple[str, str, str]]:
    """(rule_id, cost_pool, sentence) of every rule that a ledger row can name."""
    moved = "What a team disputed, and another person accepted, moves to the team that carries it instead."
    return [*rules.describe(policy.allocation), *_rate_card(policy), ("dispute", "dispute", moved)]


def token_weights(policy: Policy) -> list[tuple[str, date | None, date | None, Decimal, Decimal, Decimal, str]]:
    """(serving_pool, valid_from, valid_to, input, cache_read, output, sentence), oldest first; no day where there is no bound."""
    return [
        (pool.id, w.start, w.end, w.input, w.cache_read, w.output, words.token_weights(w.output, w.cache_read, w.input, w.start, w.end))
        for pool in policy.teams.serving_pools
        for w in sorted(pool.token_weights, key=lambda w: w.start or date.min)
    ]


def _rate_card(policy: Policy) -> list[tuple[str, str, str]]:
    if not policy.rate_card.lines:
        return []
    bought = f"Bought at cost by the {policy.company.platform_team} team, which sells the use at the rate card."
    lines = sorted(policy.rate_card.lines, key=lambda line: line.id)
    return [("rate-card", "rate card", bought), *((line.id, "rate card", words.rate(line, policy.company.currency)) for line in lines)]
