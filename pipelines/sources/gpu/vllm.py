"""vLLM's own counters: tokens that each model server saw, per UTC day; control totals for what the gateways logged.

Either an answer of Prometheus' `query_range`, or scrapes of a server as JSON: an object, or a list of them, of counter names and
values with `scraped_at` (else the day in the file's name), `model_name` (else the model that `description` names) and, for
counters since the start, `uptime_s`.

    vllm:prompt_tokens_total, else vllm:prompt_tokens_by_source_total      cached tokens included
    vllm:prompt_tokens_cached_total, else the cached sources, else vllm:prefix_cache_hits_total
    vllm:generation_tokens_total

A counter that falls was restarted from 0; a series that begins after the first scrape did so too. The increase is taken per
series, before series are added up, and is spread evenly over the time between two scrapes: a day gets its part of it in
whole tokens. Let ranges share their ends (00:00 to 00:00): what happened between two answers is in neither of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.gpu.prometheus import (
    DAY,
    FIRST,
    LAST,
    Series,
    load_json,
    load_range,
    load_series,
    named_start,
    readable,
)
from pipelines.sources.reading import create_parsed, macros, where

READ = (
    "prompt_tokens_total", "prompt_tokens_by_source_total", "prompt_tokens_cached_total", "prefix_cache_hits_total", "generation_tokens_total",
)  # fmt: skip
COUNTER = re.compile(r'([a-z_]*vllm:([a-z0-9_]+))(?:\{(.*)\})?')  # in a scrape: vllm:name, vllm:name{label="value"} or vllm:name{source}
LABEL = re.compile(r'([a-zA-Z_]+)="([^"]*)"')


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`: one row per model, engine, namespace and day with an increase known; one per series that cannot be read."""
    macros(con)
    answer = load_json(delivery)
    if isinstance(answer, dict) and "data" in answer:
        load_range(con, delivery)
    else:
        load_series(con, delivery, _scraped(delivery, answer), step=1)
    for table, select in (("counters", COUNTERS), ("increases", INCREASES)):
        con.execute(f"create or replace temp table {table} as {select}")
    create_parsed(con, "gpu", SELECT, {"cluster": source.cluster})


def _scraped(delivery: Delivery, answer: Any) -> list[Series]:
    """Scrapes as series: every counter of every object, in order of time; with an uptime it was 0 when its server started."""
    (path,) = delivery.paths
    scrapes = answer if isinstance(answer, list) else [answer]
    if not scrapes or not all(isinstance(scrape, dict) and any(COUNTER.fullmatch(key) for key in scrape) for scrape in scrapes):
        raise Refused("no counters of a model server", where(delivery, path), "deliver an answer of query_range, or scrapes as JSON objects")
    found: dict[tuple[tuple[str, str], ...], dict[int, str]] = {}
    for number, scrape in enumerate(scrapes, 1):
        began, ended = _times(delivery, number, scrape)
        model = _model(scrape)
        for key, value in scrape.items():
            name = COUNTER.fullmatch(key)
            if name is None or name[2] not in READ or not isinstance(value, str):
                continue
            labels = dict(LABEL.findall(name[3] or "")) or ({"source": name[3]} if name[3] else {})
            labels = {"__name__": name[1], **model, **labels}
            samples = found.setdefault(tuple(sorted(labels.items())), {})
            if began is not None:
                samples.setdefault(began, "0")
            samples[ended] = value
    return [
        (dict(labels), sorted(samples.items()), None) if all(map(readable, (*dict(labels).values(), *samples.values()))) else ({}, [], "bad_text")
        for labels, samples in found.items()
    ]


def _model(scrape: dict[str, Any]) -> dict[str, str]:
    """The label of the model, where the scrape names it beside its counters."""
    described = re.search(r"\bmodel ([\w./:-]+)", str(scrape.get("description", "")))
    model = scrape.get("model_name") or (described and described[1])
    return {"model_name": model} if isinstance(model, str) else {}


def _times(delivery: Delivery, number: int, scrape: dict[str, Any]) -> tuple[int | None, int]:
    """When the server started, where that is said, and when it was scraped; a day in the file's name means its end."""
    (path,) = delivery.paths
    place = where(delivery, path, number)
    named = re.search(r"\d{4}-\d\d-\d\d", path.name)
    try:
        if "scraped_at" in scrape:
            ended = datetime.fromisoformat(str(scrape["scraped_at"]))
            ended = ended if ended.tzinfo else ended.replace(tzinfo=UTC)
        elif named:
            ended = datetime.fromisoformat(named[0]).replace(tzinfo=UTC) + timedelta(days=1)
        else:
            raise ValueError
        at = round(ended.timestamp())
        began = _rounded(at - float(scrape["uptime_s"])) if "uptime_s" in scrape else None
    except (ValueError, OverflowError, TypeError):
        raise Refused("a scrape without its time", place, "add scraped_at, a UTC time, and uptime_s, in seconds") from None
    if not FIRST <= at < LAST or (began is not None and not FIRST <= began < at):
        raise Refused("a scrape at an impossible time", place, "correct scraped_at or uptime_s")
    return began, at


def _rounded(seconds: float) -> int:
    """The start of a server to five minutes, so that all its scrapes agree on it."""
    return round(seconds / 300) * 300


COUNTERS = """
with labelled as (
    select
        n,
        problem,
        regexp_extract(label(labels, '__name__'), '^[a-z_]*vllm:([a-z0-9_]+)$', 1) as counter,
        label(labels, 'source') as token_source,
        label(labels, 'model_name') as model,
        label(labels, 'engine') as engine,
        coalesce(label(labels, 'exported_namespace'), label(labels, 'namespace')) as namespace
    from series
),
roles as (
    select
        *,
        case
            when counter = 'prompt_tokens_total' then 'input'
            when counter = 'prompt_tokens_by_source_total' and token_source is not null
                then if(token_source in ('local_cache_hit', 'external_kv_transfer'), 'cached source', 'computed source')
            when counter = 'prompt_tokens_cached_total' then 'cached'
            when counter = 'prefix_cache_hits_total' then 'hits'
            when counter = 'generation_tokens_total' then 'output'
            when counter = 'request_success_total' then 'requests'
        end as role
    from labelled
)
select
    * exclude (problem),
    case
        when problem is not null then problem
        when role is null then 'other_metric'
        when model is null then 'no_model'
        when n not in (select n from samples where lower(value) <> 'nan') then 'no_data'
        when n in (select n from samples where lower(value) <> 'nan'
            and (not is_number(value) or coalesce(rounded(plain(value, 0)) not between 0 and 1000000000000000, true)))
            then 'absurd_value'
    end as problem
from roles
"""

INCREASES = f"""
with scrapes as (
    select seen_at, lag(seen_at) over (order by seen_at) as scraped_before
    from (select distinct seen_at from samples)
),
valued as (
    select n, s.seen_at, round_even(rounded(plain(s.value, 0)), 0)::bigint as total
    from counters c
    join samples s using (n)
    where c.problem is null and lower(s.value) <> 'nan'
),
counted as (
    select *, lag(seen_at) over series as seen_before, lag(total) over series as total_before
    from valued
    window series as (partition by n order by seen_at)
),
grown as (
    select
        n,
        coalesce(seen_before, scraped_before) as since,
        seen_at as until,
        if(total >= total_before, total - total_before, total) as tokens
    from counted
    join scrapes using (seen_at)
    where since is not null
),
days as (
    select *, unnest(generate_series(since // {DAY}, (until - 1) // {DAY})) * {DAY} as day
    from grown
),
parts as (
    select *, greatest(since, day) as begins, least(until, day + {DAY}) as ends
    from days
)
select
    n, day, begins, ends,
    (tokens::hugeint * (ends - since) // (until - since) - tokens::hugeint * (begins - since) // (until - since))::bigint as tokens
from parts
"""

SELECT = f"""
with daily as (
    select
        c.model, c.engine, c.namespace, i.day, min(i.n) as n,
        min(i.begins) as begins,
        max(i.ends) as ends,
        coalesce(sum(tokens) filter (role = 'input'), sum(tokens) filter (ends_with(role, 'source')))::bigint as prompt,
        coalesce(
            sum(tokens) filter (role = 'cached'), sum(tokens) filter (role = 'cached source'), sum(tokens) filter (role = 'hits'),
            0)::bigint as cached,
        sum(tokens) filter (role = 'output')::bigint as generated
    from increases i
    join counters c using (n)
    group by all
),
rows as (
    select
        concat_ws('/', {named_start("day", DAY)}, namespace, model, engine) as event_id,
        $cluster as cluster,
        'server' as holder_kind,
        model as holder_id,
        namespace,
        0 as gpus,
        utc(begins) as interval_start,
        utc(ends) as interval_end,
        ends - begins as held_seconds,
        prompt as input_tokens,
        cached as cache_read_tokens,
        generated as output_tokens,
        n,
        case
            when prompt is null then 'no_input_tokens'
            when generated is null then 'no_output_tokens'
            when cached > prompt then 'more_cached_than_input'
        end as reject
    from daily, span
    union all by name
    select n, problem as reject
    from counters
    where problem is not null
    union all by name
    select n, 'one_sample' as reject
    from counters
    where problem is null and n not in (select n from increases)
)
select * exclude (n), row_number() over (order by n, interval_start, event_id, reject) as source_row
from rows
order by source_row
"""

FORMAT = Format("vllm", "gpu", (".json", ".json.gz"), read, document=True)
