"""A scheduler's own list of who held which card, hour by hour, as CSV: whole cards and slices, and how long they worked."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.sample.truth import CardHour

HEADER = "row_id,hour,seconds,node,card,model,slices,of,namespace,notebook,busy_seconds,user"


def write(held: Iterable[CardHour]) -> bytes:
    rows = [HEADER]
    for one in held:
        rows.append(
            f"{one.card}/{one.pod}/{one.hour:%Y%m%dT%H},{one.hour:%Y-%m-%dT%H:%M:%SZ},3600,{one.node},{one.card},{one.gpu_model},"
            f"{one.slices},{one.of},{one.namespace},{one.pod},{one.active_seconds},u{one.hour.hour % 5}"
        )
    return ("\n".join(rows) + "\n").encode()
