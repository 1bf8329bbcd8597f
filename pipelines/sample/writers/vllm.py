"""vLLM's counters as Prometheus answers a range query: one sample an hour, both ends of the range included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

COUNTERS = ("vllm:prompt_tokens_total", "vllm:prompt_tokens_cached_total", "vllm:generation_tokens_total")


def write(model: str, totals: Mapping[date, tuple[int, int, int]], start: date, end: date) -> bytes:
    """`totals` says for each day what the counters of `COUNTERS` stood at when it began."""
    days = [start + timedelta(days=n) for n in range((end - start).days)]
    series = []
    for n, counter in enumerate(COUNTERS):
        values = []
        for day in days:
            before, after = totals[day][n], totals[day + timedelta(days=1)][n]
            midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
            values += [[midnight + 3600 * hour, str(before + (after - before) * hour // 24)] for hour in range(24)]
        values.append([midnight + 86_400, str(after)])
        series.append({"metric": {"__name__": counter, "model_name": model, "engine": "0", "job": "vllm"}, "values": values})
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()
