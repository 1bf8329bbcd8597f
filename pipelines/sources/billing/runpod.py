"""RunPod's `/billing/pods`: a JSON list of what each pod cost in each bucket of time. The amounts are US dollars.

A record says where its bucket starts and how long the pod was billed in it, not how long the bucket is: one that was
billed for more than a day is no daily bucket and refuses the file.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import json_list, load_objects, parse_bill

FIELDS = ("amount", "podId", "gpuTypeId", "time", "timeBilledMs")


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed` and `coverage`; any bad record refuses the file."""
    load_objects(con, delivery, json_list(delivery), FIELDS)
    names = {"day": "time", "cost": "amount", "quantity": "timeBilledMs"}
    parse_bill(con, delivery, SELECT, names, {"account": source.billing_account_id})


SELECT = r"""
select
    record,
    $account as billing_account_id,
    time as day,
    amount as cost,
    plain(timeBilledMs, -3) as quantity,
    'USD' as currency,
    'RunPod' as service_provider,
    gpuTypeId as charge_description,
    'RunPod Pods' as service,
    gpuTypeId as sku_id,
    'pod seconds' as sku_meter,
    podId as resource_id,
    'Seconds' as unit,
    case
        when moment(time) is null then 'time is not a time: ' || shown(time)
        when not coalesce(regexp_full_match(timeBilledMs, '\d{1,15}'), false) then 'timeBilledMs is not a number of milliseconds'
        when timeBilledMs::bigint > 86400000 then 'billed for more than a day: ask for daily or hourly buckets'
    end as problem
from rows
"""

FORMAT = Format("runpod", "billing", (".json", ".json.gz"), read, needs_account=True, document=True)
