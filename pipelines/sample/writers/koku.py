"""Koku's hourly GPU usage CSV: which pod held which card for how many seconds. Idle cards have no row."""

from __future__ import annotations

from datetime import datetime, timedelta

from pipelines.sample.bills import month_bounds
from pipelines.sample.truth import Serving

HEADER = (
    "report_period_start,report_period_end,interval_start,interval_end,node,namespace,pod,gpu_uuid,gpu_model_name,"
    "gpu_vendor_name,gpu_memory_capacity_mib,gpu_pod_uptime,mig_instance_id,mig_profile,mig_strategy"
)


def write(serving: Serving, start: datetime, end: datetime) -> bytes:
    """Every hour of [start, end), UTC."""
    rows = [HEADER]
    hour = start
    while hour < end:
        month = month_bounds(f"{hour:%Y-%m}")
        times = ",".join(_text(time) for time in (*month, hour, hour + timedelta(minutes=59, seconds=59)))
        for namespace, pod, card in serving.pods_at(hour):
            held = f"{serving.node},{namespace},{pod},{card},{serving.gpu_model}"
            rows.append(f"{times},{held},nvidia_com_gpu,81920,3600,,,")
        hour += timedelta(hours=1)
    return ("\n".join(rows) + "\n").encode()


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} +0000 UTC"
