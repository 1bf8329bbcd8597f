"""Koku's hourly GPU usage CSV (OpenShift cost management): which pod held which card, or slice of one, for how long.

Intervals end at xx:59:59 there and are half open here. A slice counts its compute slices of the card's.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.gpu import cards
from pipelines.sources.reading import create_parsed, load_csv, macros

REQUIRED = (
    "interval_start", "interval_end", "node", "namespace", "pod", "gpu_uuid", "gpu_model_name", "gpu_pod_uptime",
)  # fmt: skip
OPTIONAL = ("mig_instance_id", "mig_profile")  # absent from files of clusters that slice no card


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per record; `source.cluster` names the cluster."""
    macros(con)
    cards.macros(con)
    load_csv(con, delivery, "koku_rows", REQUIRED, OPTIONAL)
    create_parsed(con, "gpu", SELECT, {"cluster": source.cluster})


SELECT = r"""
with timed as (
    select
        *,
        case when regexp_full_match(interval_start, '.{19}( \+0000 UTC|Z)') then try_cast(left(interval_start, 19) as timestamp) end as begins,
        case when regexp_full_match(interval_end, '.{19}( \+0000 UTC|Z)') then try_cast(left(interval_end, 19) as timestamp) end as last_second,
        case when is_number(gpu_pod_uptime) then try_cast(round(rounded(gpu_pod_uptime), 0) as bigint) end as held,
        mig_slices(mig_profile) as slices,
        slices_of_card(gpu_model_name, mig_profile) as slices_of_card
    from koku_rows
),
hours as (
    select *, if(second(last_second) = 59, last_second + interval 1 second, last_second) as ends
    from timed
)
select
    concat_ws('/', strftime(begins, '%Y-%m-%dT%H:%M:%SZ'), coalesce(gpu_uuid, node), mig_instance_id, namespace, pod) as event_id,
    $cluster as cluster,
    node,
    gpu_uuid,
    gpu_model_name as gpu_model,
    if(mig_profile is null, 1, slices) as slice_num,
    if(mig_profile is null, 1, slices_of_card) as slice_den,
    if(pod is null, 'none', 'pod') as holder_kind,
    pod as holder_id,
    namespace,
    1 as gpus,
    begins as interval_start,
    ends as interval_end,
    held as held_seconds,
    record as source_row,
    case
        when begins is null or ends is null or ends <= begins then 'bad_time'
        when gpu_uuid is null then 'no_gpu'
        when held is null or held < 0 then 'bad_uptime'
        when held > date_diff('second', begins, ends) then 'held_longer_than_interval'
        when mig_profile is not null and (slices is null or slices not between 1 and slices_of_card) then 'unknown_mig_profile'
    end as reject
from hours
order by record
"""

FORMAT = Format("koku_gpu", "gpu", (".csv", ".csv.gz"), read)
