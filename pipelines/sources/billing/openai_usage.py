"""OpenAI's `/v1/organization/usage/*`: what was used, in pages of daily buckets. Evidence of quantity, never money.

One page set is one report; the results name it, and where every bucket is empty the name of the file or of its folder does.
Meters do not overlap: cached input and cache writes are taken out of the input, audio out of input and output where the parts
by modality add up to the whole (where they do not, audio stays inside). Whose requests they were (`user_id`) is not read.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.billing.openai_costs import bucket_times
from pipelines.sources.billing.pages import load_pages, refuse_first
from pipelines.sources.billing.usage import parse_usage
from pipelines.sources.reading import where

COUNTS = {  # report -> what each of its results must count
    "completions": ("input_tokens", "output_tokens", "num_model_requests"),
    "embeddings": ("input_tokens", "num_model_requests"),
    "moderations": ("input_tokens", "num_model_requests"),
    "images": ("images", "num_model_requests"),
    "audio_speeches": ("characters", "num_model_requests"),
    "audio_transcriptions": ("seconds", "num_model_requests"),
    "vector_stores": ("usage_bytes",),
    "code_interpreter_sessions": ("num_sessions",),
    "file_search_calls": ("num_requests",),
    "web_search_calls": ("num_requests",),
}
CALLED = {"file_searches": "file_search_calls", "web_searches": "web_search_calls"}  # in the results, other than in the address
PARTS = (
    "input_cached_tokens", "input_uncached_tokens", "input_cache_write_tokens", "input_cache_write_30m_tokens",
    "input_cache_write_12h_tokens", "input_text_tokens", "input_audio_tokens", "input_image_tokens", "input_cached_audio_tokens",
    "output_text_tokens", "output_audio_tokens", "output_image_tokens",
)  # fmt: skip
NUMBERS = tuple(dict.fromkeys([*(name for names in COUNTS.values() for name in names), *PARTS]))
TEXTS = ("object", "project_id", "api_key_id", "model", "batch", "service_tier")


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every bucket's day for the report; any bad result refuses the page set."""
    fields = json.dumps(dict.fromkeys((*TEXTS, *NUMBERS), "VARCHAR"))
    load_pages(con, delivery, bucket_times, fields)
    con.execute(
        "create or replace temp table counts as select * replace ("
        + ", ".join(f"plain({name}, 0) as {name}" for name in NUMBERS)
        + ") from (select * exclude (fields), unnest(json_transform(fields, $fields)) from results)",
        {"fields": fields},
    )
    report = _report(con, delivery)
    if report is None:
        return parse_usage(con, "select null::bigint as source_row where false", {}, "select null, null, null where false")
    refuse_first(con, _problems(report))
    exact = ", ".join(f"rounded({name}) as {name}" for name in NUMBERS)
    con.execute(f"create or replace temp table counts as select * replace ({exact}) from counts")
    refuse_first(con, IDENTITIES)
    params = {"report": report, "account": source.billing_account_id}
    parse_usage(con, SELECT, params, "select $report, $account, day from buckets")


def _report(con: duckdb.DuckDBPyConnection, delivery: Delivery) -> str | None:
    """The one report of the page set; None where nothing says which."""
    path = delivery.paths[0]
    objects = con.execute("select distinct object from counts order by object").fetchall()
    if not objects:
        return next((name for name in COUNTS if name in path.name or name in path.parent.name), None)
    named = [str(row[0] or "").removeprefix("organization.usage.").removesuffix(".result") for row in objects]
    if len(named) > 1:
        raise Refused("results of different reports", where(delivery, path), "put the pages of each report into a folder of their own")
    report = CALLED.get(named[0], named[0])
    if report not in COUNTS:
        raise Refused("not results of a usage report that is known", where(delivery, path), f"known are: {', '.join(COUNTS)}")
    return report


def _problems(report: str) -> str:
    tests = [f"when {name} is null then '{name} is missing'" for name in COUNTS[report]]
    tests += [
        f"when {name} is not null and (not is_number({name}) or starts_with({name}, '-') or rounded({name}) is null)"
        f" then '{name} is not a count'"
        for name in NUMBERS
    ]
    return f"select place, case {' '.join(tests)} end as problem from counts where problem is not null order by record limit 1"


IDENTITIES = """
select
    place,
    case
        when input_uncached_tokens is not null and input_cache_write_tokens is not null and input_cached_tokens is not null
            and input_tokens <> input_cached_tokens + input_cache_write_tokens + input_uncached_tokens
            then 'cached, written and uncached input do not add up to input_tokens'
        when coalesce(input_cached_tokens, 0) + coalesce(input_cache_write_tokens, 0) > input_tokens
            then 'more cached and written input than input_tokens'
        when coalesce(input_cache_write_30m_tokens, 0) + coalesce(input_cache_write_12h_tokens, 0) > coalesce(input_cache_write_tokens, 0)
            then 'more written input by time than input_cache_write_tokens'
    end as problem
from counts
where problem is not null
order by record
limit 1
"""

SELECT = """
with disjoint as (
    select
        *,
        input_tokens - coalesce(input_cached_tokens, 0) - coalesce(input_cache_write_tokens, 0) as uncached,
        coalesce(input_text_tokens, 0) + coalesce(input_audio_tokens, 0) + coalesce(input_image_tokens, 0) as by_modality,
        case
            when by_modality = uncached then coalesce(input_audio_tokens, 0)
            when by_modality = input_tokens and input_audio_tokens >= input_cached_audio_tokens
                then least(input_audio_tokens - input_cached_audio_tokens, uncached)
            else 0 end as audio_in,
        case
            when coalesce(output_text_tokens, 0) + coalesce(output_audio_tokens, 0) + coalesce(output_image_tokens, 0) = output_tokens
                then coalesce(output_audio_tokens, 0)
            else 0 end as audio_out
    from counts
),
metered as (
    select
        *,
        unnest([
            {'meter': 'input_uncached', 'quantity': uncached - audio_in, 'unit': 'Tokens'},
            {'meter': 'audio_input', 'quantity': audio_in, 'unit': 'Tokens'},
            {'meter': 'cache_read', 'quantity': input_cached_tokens, 'unit': 'Tokens'},
            {'meter': 'input_cache_write_30m_tokens', 'quantity': input_cache_write_30m_tokens, 'unit': 'Tokens'},
            {'meter': 'input_cache_write_12h_tokens', 'quantity': input_cache_write_12h_tokens, 'unit': 'Tokens'},
            {'meter': 'input_cache_write_tokens', 'unit': 'Tokens', 'quantity': input_cache_write_tokens
                - coalesce(input_cache_write_30m_tokens, 0) - coalesce(input_cache_write_12h_tokens, 0)},
            {'meter': 'output', 'quantity': output_tokens - audio_out, 'unit': 'Tokens'},
            {'meter': 'audio_output', 'quantity': audio_out, 'unit': 'Tokens'},
            {'meter': 'images', 'quantity': images, 'unit': 'Images'},
            {'meter': 'characters', 'quantity': characters, 'unit': 'Characters'},
            {'meter': 'seconds', 'quantity': seconds, 'unit': 'Seconds'},
            {'meter': 'usage_bytes', 'quantity': usage_bytes, 'unit': 'Bytes'},
            {'meter': 'sessions', 'quantity': num_sessions, 'unit': 'Sessions'},
            {'meter': $report, 'quantity': num_requests, 'unit': 'Calls'},
            -- Of web searches, these are requests that the report of completions counts too.
            {'meter': 'requests', 'quantity': if($report = 'web_search_calls', null, num_model_requests), 'unit': 'Requests'}
        ]) as m
    from disjoint
)
select
    $report as report,
    $account as billing_account_id,
    project_id as sub_account_id,
    api_key_id,
    model as model_as_logged,
    case when batch = 'true' then 'batch' else lower(service_tier) end as service_tier,
    day as usage_date,
    m.meter as meter,
    m.quantity as quantity,
    m.unit as unit,
    m.meter = 'input_uncached' and $report = 'completions' and input_uncached_tokens is null as derived,
    record as source_row
from metered
"""

FORMAT = Format("openai_usage", "usage", (".json", ".json.gz"), read, pages=True, needs_account=True)
