"""Any list of who held GPUs when, in CSV, JSON lines or Parquet, through the field map of its source: Run:ai, Ray and others.

    fields:
      interval_start: start             # and interval_end, or seconds: for how long each GPU was held
      seconds: run_seconds
      holder: workload                  # or team: the account that it ran for; both where both are known
      gpus: {value: "1"}                # parts of a card too: 0.5

Other fields are the columns of gpu_usage: event_id, holder_kind (job where it is not given), node, gpu_uuid, gpu_model,
slice_num, slice_den, namespace, capacity_type, active_seconds, queue_seconds, state, and the token counts of a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import duckdb

from pipelines.sources import GPU_USAGE, Delivery, Format
from pipelines.sources.fields import Mapped, expression, fields_of, load_texts, moment
from pipelines.sources.gateway import lines
from pipelines.sources.reading import create_parsed, macros
from pipelines.sources.texts import ALL_SUFFIXES

ALIASES = {"seconds": "held_seconds", "holder": "holder_id", "team": "account"}
TIMES = ("interval_start", "interval_end")
FIELDS = tuple(name for name in GPU_USAGE if name != "cluster")
NEEDED = (("interval_start",), ("interval_end", "seconds"), ("holder", "team"), ("gpus",))


def map_problems(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a field map: the field it is about, what, and what to do."""
    found = {ALIASES.get(name, name): name for name in names}
    for canonical, name in found.items():
        if canonical not in FIELDS:
            yield name, f"unknown field {name}", "use the names of gpu_usage, seconds, holder or team"
    for choices in NEEDED:
        if not any(ALIASES.get(choice, choice) in found for choice in choices):
            yield choices[0], f"field {' or '.join(choices)} is missing", "say which column has it"


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`: one row per line (JSON) or record (CSV, Parquet)."""
    macros(con)
    lines.macros(con)
    fields = fields_of(source.fields, FIELDS, ALIASES, "gpu_usage")
    texts = load_texts(con, delivery, source.file, fields)
    params: dict[str, Any] = {}
    selects = [f"nullif(trim({expression(name, fields.get(name, Mapped()), texts, params)}), '') as {name}" for name in FIELDS if name not in TIMES]
    selects += [f"{moment(name, fields, texts, params, source)} as {name}" for name in TIMES]
    selects += [f"{'interval_end' in fields} as has_end", f"{'held_seconds' in fields} as has_seconds"]
    con.execute(f"create or replace temp table listed as select source_row, bad_record, {', '.join(selects)} from texts", params)
    create_parsed(con, "gpu", SELECT, {"cluster": source.cluster})
    if source.file == "jsonl":
        lines.number_lines(con, delivery)


SELECT = r"""
with numbers as (
    select
        * exclude (gpus, slice_num, slice_den, held_seconds, active_seconds, queue_seconds),
        case when is_number(gpus) then rounded(plain(gpus, 0)) end as cards,
        case when is_number(held_seconds) then try_cast(round_even(rounded(plain(held_seconds, 0)), 0) as bigint) end as told,
        case when is_number(active_seconds) then try_cast(round_even(rounded(plain(active_seconds, 0)), 0) as bigint) end as active,
        active_seconds is not null as has_active,
        case when is_number(queue_seconds) then try_cast(round_even(rounded(plain(queue_seconds, 0)), 0) as bigint) end as waited,
        queue_seconds is not null as has_queue,
        try_cast(slice_num as integer) as part,
        try_cast(slice_den as integer) as parts,
        slice_num is not null or slice_den is not null as sliced
    from listed
),
timed as (
    select
        *,
        if(has_end, interval_end, case when told between 0 and 1000000000 then interval_start + to_seconds(told) end) as ends,
        cards = trunc(cards) as whole,
        try_cast(cards * 1000000 as integer) as millionths
    from numbers
),
held as (
    select
        *,
        date_diff('second', interval_start, ends) as seconds,
        if(has_seconds, told, date_diff('second', interval_start, ends)) as held,
        coalesce(lower(holder_kind), 'job') as kind,
        coalesce(holder_id, account) as holder,
        greatest_common_divisor(millionths, 1000000)::integer as common
    from timed
),
judged as (
    select
        *,
        case
            when bad_record then 'bad_record'
            when interval_start is null or (has_end and (ends is null or seconds < 0)) then 'bad_time'
            when held < 0 then 'negative_seconds'
            when held is null or ends is null then 'bad_seconds'
            when held > seconds then 'held_longer_than_interval'
            when kind not in ('pod', 'job', 'none', 'server') then 'unknown_holder_kind'
            when holder is null and kind <> 'none' then 'no_holder'
            when cards is null or cards < 0 or cards > 1000000 then 'bad_gpus'
            when cards = 0 and kind <> 'server' then 'no_gpu'
            when not whole and (sliced or coalesce(millionths, 0) = 0) then 'bad_gpus'
            when sliced and (part is null or parts is null or part < 1 or part > parts) then 'bad_slice'
            when has_active and (active is null or active < 0 or active > held) then 'bad_active_seconds'
            when has_queue and (waited is null or waited not between 0 and 1000000000) then 'bad_queue_seconds'
            when capacity_type not in ('on_demand', 'spot', 'reserved', 'owned') then 'unknown_capacity_type'
            when len(list_filter([input_tokens, cache_read_tokens, output_tokens],
                lambda t: t is not null and (not regexp_full_match(t, '\d{1,15}')))) > 0 then 'bad_tokens'
        end as reject,
        concat_ws('/', strftime(interval_start, '%Y-%m-%dT%H:%M:%SZ'), gpu_uuid, node, namespace, account, holder) as key
    from held
)
select
    coalesce(event_id, key || if(row_number() over again > 1, '#' || row_number() over again, '')) as event_id,
    $cluster as cluster,
    node,
    gpu_uuid,
    gpu_model,
    if(sliced, part, if(whole, 1, millionths // common))::integer as slice_num,
    if(sliced, parts, if(whole, 1, 1000000 // common))::integer as slice_den,
    kind as holder_kind,
    if(kind = 'none', null, holder) as holder_id,
    account,
    namespace,
    capacity_type,
    if(whole, try_cast(cards as integer), 1) as gpus,
    interval_start,
    ends as interval_end,
    held as held_seconds,
    active as active_seconds,
    waited as queue_seconds,
    try_cast(input_tokens as bigint) as input_tokens,
    try_cast(cache_read_tokens as bigint) as cache_read_tokens,
    try_cast(output_tokens as bigint) as output_tokens,
    state,
    source_row,
    reject
from judged
window again as (partition by event_id, key, reject is null order by source_row)
order by source_row
"""

FORMAT = Format("mapped_gpu", "gpu", ALL_SUFFIXES, read, line_records=lines.in_lines)
