"""OpenCost's (and Kubecost's) `/allocation` answer, and its CSV export: GPU-hours of each allocation and window.

One row is as many whole GPUs as the hours need inside the interval, each held for its part of them; the product is the
GPU time. `__idle__` is what nobody held; `__unallocated__` was held by something without a name. Of the CSV only the
day and the number of GPUs are known, not for how long a pod ran: it counts for the whole day. Costs are not read.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.gpu.prometheus import load_json, readable
from pipelines.sources.reading import create_parsed, load_csv, macros, note_ignored_fields, where

FIELDS = """{"name": "VARCHAR", "start": "VARCHAR", "end": "VARCHAR", "window": {"start": "VARCHAR"}, "gpuCount": "VARCHAR",
    "gpuHours": "VARCHAR", "properties": {"node": "VARCHAR", "namespace": "VARCHAR", "pod": "VARCHAR", "container": "VARCHAR"},
    "GPUAllocation": {"gpuModel": "VARCHAR", "gpuUUID": "VARCHAR", "gpuUsageAverage": "VARCHAR"}}"""
TIME = "try_cast(case when regexp_full_match({0}, '\\d{{4}}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z') then left({0}, 19) end as timestamp)"


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per allocation (JSON, in the order of the answer) or record (CSV)."""
    macros(con)
    if delivery.paths[0].name.removesuffix(".gz").endswith(".csv"):
        load_csv(con, delivery, "exported", ("Date", "Namespace", "Pod", "Container", "GPUs"))
        con.execute(f"create or replace temp table allocations as {EXPORTED}")
    else:
        _load_answer(con, delivery)
    create_parsed(con, "gpu", SELECT, {"cluster": source.cluster})


def _load_answer(con: duckdb.DuckDBPyConnection, delivery: Delivery) -> None:
    """Temp table `allocations` of an answer; what is not readable text is not stored."""
    answer = load_json(delivery)
    windows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(windows, list) or answer.get("code") != "200" or not all(w is None or isinstance(w, dict) for w in windows):
        raise Refused("not a successful answer of /allocation", where(delivery, delivery.paths[0]), "deliver the answer as it came")
    found = [allocation for window in windows if window for allocation in window.values()]
    note_ignored_fields(con, found, json.loads(FIELDS))
    texts = [_kept(allocation) for allocation in found]
    con.execute(
        "create or replace temp table answered as select unnest($records)::bigint as record, unnest($texts)::varchar as fields",
        {"records": list(range(1, len(texts) + 1)), "texts": texts},
    )
    con.execute(f"create or replace temp table allocations as {ANSWERED}", {"fields": FIELDS})


def _kept(allocation: Any) -> str | None:
    """An allocation as JSON text of the fields that are read; NULL where it is none."""
    if not isinstance(allocation, dict):
        return None
    kept = json.dumps({name: allocation.get(name) for name in json.loads(FIELDS)}, ensure_ascii=False)
    return kept if readable(kept) and "\\u0000" not in kept else None


EXPORTED = """
select
    record,
    null::varchar as problem,
    case when try_cast(Date as date) is not null then Date || 'T00:00:00Z' end as window_start,
    try_cast(Date as timestamp) as begins,
    try_cast(Date as timestamp) + interval 1 day as ends,
    null::varchar as node,
    Namespace as namespace,
    coalesce(Pod, '__unallocated__') as holder,
    Container as container,
    case when is_number(GPUs) then rounded(plain(GPUs, 0)) end as gpu_count,
    try_cast(gpu_count * 24 as decimal(38, 12)) as gpu_hours,
    null::varchar as gpu_model,
    null::varchar as gpu_uuid,
    null::decimal(38, 12) as active
from exported
"""

ANSWERED = f"""
with fields as (
    select record, fields is null as unread, unnest(json_transform(fields, $fields))
    from answered
),
numbers as (
    select
        *,
        case when is_number(gpuCount) then rounded(plain(gpuCount, 0)) end as gpu_count,
        case when is_number(gpuHours) then rounded(plain(gpuHours, 0)) end as gpu_hours,
        case when is_number(GPUAllocation.gpuUsageAverage) then rounded(plain(GPUAllocation.gpuUsageAverage, 0)) end as active
    from fields
)
select
    record,
    if(unread, 'bad_text', null) as problem,
    coalesce("window".start, "start") as window_start,
    {TIME.format('"start"')} as begins,
    {TIME.format('"end"')} as ends,
    properties.node as node,
    properties.namespace as namespace,
    coalesce(nullif(properties.pod, ''), name) as holder,
    properties.container as container,
    gpu_count,
    gpu_hours,
    nullif(GPUAllocation.gpuModel, '') as gpu_model,
    nullif(GPUAllocation.gpuUUID, '') as gpu_uuid,
    if(active between 0 and 1, active, null) as active
from numbers
"""

SELECT = """
with timed as (
    select
        *,
        date_diff('second', begins, ends) as seconds,
        try_cast(round_even(try_cast(gpu_hours * 3600 as decimal(38, 12)), 0) as bigint) as gpu_seconds
    from allocations
),
counted as (
    select
        *,
        if(gpu_count = trunc(gpu_count) and gpu_count * seconds >= gpu_seconds and gpu_count between 1 and 1000000,
            gpu_count, ceil(gpu_seconds::decimal(38, 0) / nullif(seconds, 0)))::hugeint as cards
    from timed
    where problem is null and gpu_seconds between 0 and 1000000000000 and seconds between 1 and 100000000
),
whole as (
    select t.*, case when c.cards <= 1000000 then greatest(c.cards, 1)::integer end as gpus
    from timed t
    left join counted c using (record)
),
held as (
    select *, (gpu_seconds + gpus // 2) // gpus as held
    from whole
)
select
    concat_ws('/', window_start, nullif(node, ''), nullif(namespace, ''), holder, nullif(container, '')) as event_id,
    $cluster as cluster,
    nullif(node, '') as node,
    if(gpus = 1, gpu_uuid, null) as gpu_uuid,
    gpu_model,
    1 as slice_num,
    1 as slice_den,
    if(ends_with(holder, '__idle__'), 'none', 'pod') as holder_kind,  -- with idleByNode the key begins with the node
    if(regexp_matches(holder, '__(idle|unallocated)__$'), null, holder) as holder_id,
    nullif(namespace, '') as namespace,
    gpus,
    begins as interval_start,
    ends as interval_end,
    held as held_seconds,
    try_cast(round_even(active * held, 0) as bigint) as active_seconds,
    record as source_row,
    case
        when problem is not null then problem
        when begins is null or ends is null or seconds <= 0 or begins < timestamp '2000-01-01' or ends > timestamp '2200-01-01' then 'bad_time'
        when gpu_hours is null then 'bad_gpu_hours'
        when gpu_hours < 0 then 'negative_gpu_hours'
        when gpu_hours = 0 then 'no_gpu'
        when gpus is null or held > seconds then 'absurd_gpu_hours'
        when holder is null then 'no_holder'
    end as reject
from held
order by record
"""

FORMAT = Format("opencost", "gpu", (".json", ".json.gz", ".csv", ".csv.gz"), read, document=True)
