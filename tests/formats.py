"""One valid file of every format, as the sample writers and the tests of the readers write them."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines import policy, sample
from pipelines.policy.files import Sources
from pipelines.sample.arrivals import arrivals
from pipelines.sample.landing import policy_files
from pipelines.sources import KINDS
from tests.unit import test_cloud_bills as clouds
from tests.unit import test_declared_gateways as declared
from tests.unit import test_gpu_sources as gpus
from tests.unit import test_trace_readers as traces
from tests.unit import test_usage_reports as reports
from tests.unit import test_vendor_bills as vendors


@dataclass(frozen=True)
class Sample:
    """A file of a format, and the entry of sources.yaml that reads it. `lines`: each line is a record of its own.
    `listed`: it waits for a manifest that lists it."""

    format: str
    kind: str
    name: str
    data: bytes
    entry: dict[str, Any] = field(default_factory=dict)
    lines: bool = False
    listed: bool = False

    def manifest(self, run: str) -> bytes:
        said = {"exportArn": run, "executionId": "1", "billingPeriod": {"start": "2026-10-01T00:00:00Z"}}
        return json.dumps({**said, "dataFiles": [f"s3://bucket/{self.name}"]}).encode()

    def sources(self) -> Sources:
        return Sources.model_validate({"version": 1, KINDS[self.kind]: [{**self.entry, "name": "s", "format": self.format}]})


@cache
def samples() -> dict[str, Sample]:
    """By format; where the sample company has one, its first file of at most some dozens of lines."""
    found = {made.format: made for made in (*_company(), *_gateways(), *_bills(), *_vendors(), *_reports(), *_gpus())}
    rates = b"period,currency,rate,rate_source\n2026-09,EUR,1.1734,ECB\n2026-10,EUR,1.2,ECB\n"
    return found | {"fx_csv": Sample("fx_csv", "fx", "rates.csv", rates)}


def _company() -> list[Sample]:
    entries = policy.load(policy_files()).sources
    by_source = {(kind, entry.name): entry for kind, key in KINDS.items() for entry in getattr(entries, key)}
    found: dict[str, Sample] = {}
    for arrival in arrivals(sample.Truth.make(scale=0.01)):
        kind, source, *_ = arrival.path.parts
        entry = by_source[kind, source]
        if entry.format in found or arrival.path.name.endswith("page-1.json"):
            continue
        data, name = arrival.content(), arrival.path.name
        if name.endswith(".gz"):
            data, name = gzip.decompress(data), name.removesuffix(".gz")
        if not name.endswith((".json", ".parquet")):
            data = b"".join(data.splitlines(keepends=True)[:40])
        said = entry.model_dump(mode="json", exclude_unset=True)
        found[entry.format] = Sample(entry.format, kind, name, data, said, name.endswith((".jsonl", ".log", ".txt")))
    return list(found.values())


def _lines(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _gateways() -> list[Sample]:
    events = [event for event in declared.EVENTS if not event.cached][:20]
    made = [
        Sample(name, "gateway", "a.jsonl", _lines(*map(write, events)), {"fields": {"gateway_team": "x-team"}} if name == "envoy" else {}, True)
        for name, write, *_ in declared.CASES
    ]
    rollup = {"team_id": "a", "prompt_tokens": 5, "completion_tokens": 1, "api_requests": 2, "cache_read_input_tokens": 1}
    rollups = _lines(*({"date": f"2026-09-{n:02}", "model": "gpt-4o", "custom_llm_provider": "openai", **rollup} for n in range(1, 20)))
    spans = _lines(*(traces.export(traces.span(n, **traces.usage(10, 5))) for n in range(1, 20)))
    return [
        *made,
        Sample("litellm_daily", "gateway", "a.jsonl", rollups, {}, True),
        Sample("otel_genai", "gateway", "a.jsonl", spans, {"fields": {"gateway_team": "team.id"}}, True),
        Sample("langfuse", "gateway", "a.jsonl", _lines(*map(traces.observation, events)), {}, True),
    ]


def _bills() -> list[Sample]:
    said = {"provider": "vendor", "billing_account_id": "acct", "legal_entity": "E"}
    with TemporaryDirectory() as name:
        folder = Path(name)
        return [
            Sample("aws_cur", "billing", "cur.csv", clouds.cur(folder, {}, {}, {}).read_bytes(), said, listed=True),
            Sample("azure_cost", "billing", "cost.csv", clouds.azure(folder, "cost.csv", {}, {}, {}).read_bytes(), said),
            Sample("gcp_billing", "billing", "rows.jsonl", clouds.gcp(folder, {}, {}, {}).read_bytes(), said),
        ]


SAID = {"provider": "vendor", "billing_account_id": "acct"}


def _vendors() -> list[Sample]:
    found = []
    for format_, name, text, more in vendors.FILES.values():
        columns = {ours: said if isinstance(said, str) else said.model_dump(exclude_unset=True) for ours, said in more.get("fields", {}).items()}
        entry = {**SAID, "legal_entity": "E"} | ({"fields": columns, "billing_account_id": None} if columns else {})
        found.append(Sample(format_, "billing", name, text.encode(), entry, name.endswith(".jsonl")))
    return found


def _reports() -> list[Sample]:
    usage = vendors.lines(vendors.TRIPLE).encode()
    files = {
        "openai_usage": ("page.json", json.dumps(reports.page(reports.bucket(1, reports.completions()), reports.bucket(2))).encode()),
        "anthropic_usage": ("page.json", json.dumps(reports.messages(reports.MESSAGE, reports.MESSAGE)).encode()),
        "anthropic_analytics_usage": ("page.json", json.dumps({"data": [reports.counted(1), reports.counted(2)], "has_more": False}).encode()),
        "anthropic_tokens": ("tokens.csv", reports.TOKENS.encode()),
        "deepseek_amounts": ("amount.csv", reports.AMOUNTS.encode()),
        "fireworks": ("metrics.csv", reports.METRICS.encode()),
        "databricks_usage": ("usage.jsonl", usage),
    }
    return [Sample(name, "usage", file, data, SAID, file.endswith(".jsonl")) for name, (file, data) in files.items()]


def _gpus() -> list[Sample]:
    def of(name: str, text: str) -> Sample:
        return Sample(name, "gpu", "a.json", text.encode(), {"cluster": "c"})

    return [
        of("dcgm", gpus.company_cards(gpus.MIDNIGHT, 12)),
        of("k8s_gpu_requests", gpus.answer(gpus.asks(1), gpus.node_has(8))),
        of("opencost", gpus.allocations({"a": gpus.allocation()})),
        of("vllm", gpus.answer(*gpus.counters([1, 5, 9], [2, 3, 4], [0, 1, 2]))),
    ]


