"""Rates for our own models and GPUs, from what they cost in the last whole month: lines to paste. Nothing is written."""

from __future__ import annotations

from datetime import date

import duckdb

from pipelines import blended, policy
from pipelines.blended import Blended
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.policy import Policy
from pipelines.policy.files import Covers
from pipelines.publish import require_manifest
from pipelines.warehouse import literal


def text(home: Home) -> str:
    """YAML for `lines:` of rate_card.yaml, with both bases; refused where nothing of our own ran in the month."""
    require_manifest(home)
    rules = policy.load(home.policy)
    with duckdb.connect(str(home.current), read_only=True) as con:
        month = blended.last_month(con)
        if month is None:
            raise Refused("no month has any cost yet", "apportion policy rates", "run: apportion nightly")
        period, start = month
        tokens, hours = blended.tokens(con, period), blended.gpu_hours(con, period)
    pools = {pool.cluster for pool in rules.teams.serving_pools}
    lines = [
        line for (pool, meter), cost in tokens.items() for line in _line(rules, Covers(serving_pool=pool), meter, "1M tokens", cost, start)
    ]
    for cluster, cost in hours.items():
        if cluster not in pools:
            lines += _line(rules, Covers(cluster=cluster), "gpu_hours", "GPU-hour", cost, start)
    if not lines:
        raise Refused(
            f"no model server or GPU of our own ran in {period}", "apportion policy rates", "there is nothing to propose a rate from"
        )
    ending = [
        line.id for line in rules.rate_card.lines
        if line.covers.kind in ("serving_pool", "cluster") and (line.end is None or line.end > start)
    ]  # fmt: skip
    head = [
        f"# What our own models and GPUs cost in {period}: lines to paste under `lines:` in rate_card.yaml. Nothing was changed.",
        "# Each rate is the cost with idle GPUs; beside it the cost of those that worked (models) or were held (GPU-hours).",
    ]
    if ending:
        head.append(f"# These lines still hold then: give each `to: {start}`, or take another day: {', '.join(ending)}")
    return "\n".join([*head, *lines])


def _line(rules: Policy, covers: Covers, meter: str, unit: str, cost: Blended, start: date) -> list[str]:
    kind, what = covers.kind, covers.what
    named = next((line.service for line in rules.rate_card.lines if line.covers == covers), None)
    pool = next((pool.name for pool in rules.teams.serving_pools if kind == "serving_pool" and pool.id == what), None)
    service = named or pool or (f"GPU cluster {what}" if kind == "cluster" else what)
    return [
        f"  - id: {what}-{meter.replace('_', '-')}-{start}",
        f"    service: {literal(service)}",
        f"    covers: {{{kind}: {literal(what)}}}",
        f"    meter: {meter}",
        f"    unit: {unit}",
        f'    rate: "{cost.full:f}"  # {cost.usage:f} without what stood idle',
        f"    from: {start}",
    ]
