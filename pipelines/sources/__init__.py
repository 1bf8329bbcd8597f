"""Readers of what users have: one small module per format.

A reader turns one delivery into rows of its kind's shape below, and nothing else: no prices, no owners, no policy
beyond the source's own field map. It leaves a temp table `parsed` with every column of the shape, `source_row`
(physical line, or record number from 1) and `reject` (NULL for a good row, else the first reason that applies).
Fields are read by allow-list; a body or a prompt is never selected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

MONEY = "DECIMAL(38,12)"

EVENT = {
    "event_id": "VARCHAR",
    "event_version": "VARCHAR",  # declared version or updated_at, sortable as text; '' where the source has none
    "occurred_at": "TIMESTAMP",  # UTC
    "gateway_team": "VARCHAR",  # the team as the source names it
    "project": "VARCHAR",
    "application": "VARCHAR",
    "environment": "VARCHAR",
    "customer_id": "VARCHAR",
    "user_tier": "VARCHAR",
    "request_type": "VARCHAR",  # interactive, batch, background, or a word of its own
    "triggered_by": "VARCHAR",  # the team (as the source names it) whose documents caused an embedding or a write
    "api_key_id": "VARCHAR",  # an id or a hash, never a key
    "principal": "VARCHAR",  # who called, as the cloud knows them: an IAM ARN
    "inference_profile": "VARCHAR",  # the profile a team calls its model through: its ARN
    "sub_account_id": "VARCHAR",  # the account of the vendor in which the call was made, as its bill names it
    "provider": "VARCHAR",
    "model_as_logged": "VARCHAR",
    "region": "VARCHAR",
    "service_tier": "VARCHAR",
    "operation": "VARCHAR",
    "vector_index_id": "VARCHAR",
    "trace_id": "VARCHAR",
    "session_id": "VARCHAR",
    "attempt": "INTEGER",
    "status": "VARCHAR",  # success, failure
    "gateway_cache": "VARCHAR",  # none, exact, semantic
    "routing_reason": "VARCHAR",
    "quality_score": "DECIMAL(9,6)",
    "system_prompt_tokens": "BIGINT",  # of the input, those of the system prompt, as the caller says; NULL where nobody does
    "latency_ms": "BIGINT",
    "input_uncached_tokens": "BIGINT",
    "cache_read_tokens": "BIGINT",
    "cache_write_5m_tokens": "BIGINT",
    "cache_write_1h_tokens": "BIGINT",
    "output_tokens": "BIGINT",  # without reasoning
    "reasoning_tokens": "BIGINT",
    "audio_input_tokens": "BIGINT",
    "audio_output_tokens": "BIGINT",
    "avoided_input_tokens": "BIGINT",  # on a gateway cache hit: what the provider did not see
    "avoided_output_tokens": "BIGINT",
    "images": "BIGINT",
    "search_units": "BIGINT",
    "queries": "BIGINT",
    "requests": "BIGINT",
    "source_cost": MONEY,  # what the source says it cost: evidence only
}

# What a call was for and for whom: a trace has these as attributes or metadata, under names that the source's
# `fields` say, else under these.
CONTEXT = (
    "gateway_team", "project", "application", "environment", "customer_id", "user_tier", "request_type", "triggered_by",
    "api_key_id", "provider", "region", "service_tier", "vector_index_id", "session_id", "routing_reason", "quality_score",
    "system_prompt_tokens",
)  # fmt: skip

BILL_LINE = {
    "service_provider": "VARCHAR",  # as the bill names the seller
    "billing_account_id": "VARCHAR",
    "sub_account_id": "VARCHAR",
    "invoice_id": "VARCHAR",
    "charge_category": "VARCHAR",  # Usage, Purchase, Tax, Credit, Adjustment
    "charge_class": "VARCHAR",  # NULL or Correction
    "charge_description": "VARCHAR",
    "charge_frequency": "VARCHAR",  # One-Time, Recurring, Usage-Based or NULL
    "service": "VARCHAR",
    "sku_id": "VARCHAR",
    "sku_meter": "VARCHAR",  # a meter of METERS where the bill's name is known, else the bill's own text
    "model_as_logged": "VARCHAR",
    "region": "VARCHAR",
    "service_tier": "VARCHAR",
    "resource_id": "VARCHAR",
    "api_key_id": "VARCHAR",
    "commitment_status": "VARCHAR",  # Unused: what the bill says that nobody used of something bought ahead; else Used or NULL
    "usage_date": "DATE",  # the vendor's own day
    "charge_period_start": "TIMESTAMP",
    "charge_period_end": "TIMESTAMP",
    "billing_period": "VARCHAR",  # YYYY-MM, the vendor's invoice month
    "billing_period_start": "DATE",
    "billing_period_end": "DATE",
    "consumed_quantity": MONEY,
    "consumed_unit": "VARCHAR",  # Tokens for every token meter, whatever the bill counts in
    "list_cost": MONEY,
    "contracted_cost": MONEY,
    "effective_cost": MONEY,
    "billed_cost": MONEY,
    "billing_currency": "VARCHAR",
    "discarded_cost": "DECIMAL(38,30)",  # what rounding the billed cost to twelve decimals (half even) left out
}

COVERAGE = {  # billing only, temp table `coverage`: the account-days this delivery replaces, also when empty
    "billing_account_id": "VARCHAR",
    "billing_period": "VARCHAR",
    "usage_date": "DATE",  # NULL: the whole billing period
}

PROVIDER_USAGE = {  # what a vendor says was used: evidence, never money
    "report": "VARCHAR",  # which of the vendor's reports says it: completions, embeddings, messages ...
    "billing_account_id": "VARCHAR",
    "sub_account_id": "VARCHAR",  # project or workspace
    "api_key_id": "VARCHAR",
    "model_as_logged": "VARCHAR",  # NULL where the report is not grouped by model
    "region": "VARCHAR",
    "service_tier": "VARCHAR",
    "context_window": "VARCHAR",  # the vendor's own words
    "usage_date": "DATE",  # the vendor's own day
    "meter": "VARCHAR",  # a meter of METERS, `input` where the report does not split it, else the vendor's own word
    "quantity": MONEY,  # never zero; meters of one report do not overlap
    "unit": "VARCHAR",
    "derived": "BOOLEAN",  # the report gave a total, and this is what its parts leave
}

REPORTED = {  # usage only, temp table `coverage`: the days of a report that this delivery replaces, also when empty
    "report": "VARCHAR",
    "billing_account_id": "VARCHAR",
    "usage_date": "DATE",
}

GPU_USAGE = {
    "event_id": "VARCHAR",  # one holder of one card or job over one interval; a later delivery of it replaces it
    "cluster": "VARCHAR",
    "node": "VARCHAR",
    "gpu_uuid": "VARCHAR",
    "gpu_model": "VARCHAR",
    "slice_num": "INTEGER",
    "slice_den": "INTEGER",
    "holder_kind": "VARCHAR",  # pod, job, none (nobody held it), server (a model server's own counters; holds no card)
    "holder_id": "VARCHAR",
    "account": "VARCHAR",  # who the scheduler says it is for: a Slurm account
    "namespace": "VARCHAR",
    "capacity_type": "VARCHAR",  # on_demand, spot, reserved, owned; NULL where the source does not say
    "gpus": "INTEGER",
    "interval_start": "TIMESTAMP",  # UTC, half open
    "interval_end": "TIMESTAMP",
    "held_seconds": "BIGINT",  # of the interval, per GPU
    "active_seconds": "BIGINT",  # of the held seconds, those in which the card worked; NULL where nobody measured
    "queue_seconds": "BIGINT",  # that the holder waited from when it could run to its start; NULL where the source does not say
    "input_tokens": "BIGINT",  # servers only: tokens of the interval, cached ones included
    "cache_read_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "state": "VARCHAR",
}

DRIVER = {
    "driver": "VARCHAR",
    "usage_date": "DATE",  # NULL: holds on every day
    "keys": "VARCHAR",  # the other columns of the row as a JSON object of texts, blanks left out
    "target": "VARCHAR",
    "weight": MONEY,
}

FX_RATE = {"period": "VARCHAR", "currency": "VARCHAR", "rate": MONEY, "rate_source": "VARCHAR"}

INVOICE = {  # documents, one row each
    "invoice_id": "VARCHAR",
    "provider": "VARCHAR",
    "billing_account_id": "VARCHAR",
    "billing_period": "VARCHAR",
    "amount": MONEY,  # tax included
    "tax": MONEY,
    "currency": "VARCHAR",
    "issued_on": "DATE",
}

OUTCOME = {  # what a business counts: one row each
    "period": "VARCHAR",  # YYYY-MM
    "usage_date": "DATE",  # NULL: of the whole month
    "team": "VARCHAR",  # this and the next two: NULL where it is not about one
    "project": "VARCHAR",
    "application": "VARCHAR",
    "metric": "VARCHAR",  # conversations, tickets, documents, customers, revenue, human_cost ...
    "quantity": MONEY,  # of money metrics in the company's currency
    "unit": "VARCHAR",
    "value": MONEY,  # what they were worth, in the company's currency; NULL where nobody says
}

SHAPES: dict[str, dict[str, str]] = {
    "gateway": EVENT,
    "billing": BILL_LINE,
    "usage": PROVIDER_USAGE,
    "gpu": GPU_USAGE,
    "drivers": DRIVER,
    "fx": FX_RATE,
    "invoices": INVOICE,
    "outcomes": OUTCOME,
}

KINDS = {  # folder -> key of sources.yaml
    "gateway": "gateways", "billing": "billing", "usage": "usage", "gpu": "gpu", "drivers": "drivers", "fx": "fx",
    "invoices": "invoices", "outcomes": "outcomes",
}  # fmt: skip

METERS = (
    "input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning",
    "audio_input", "audio_output", "images", "search_units", "queries", "requests",
)  # fmt: skip


@dataclass(frozen=True)
class Delivery:
    """What arrived together: one file, one set of pages, or what manifests list, already checked byte by byte."""

    delivery_id: str  # sha256 over kind, source and decompressed content
    kind: str
    source: str
    paths: tuple[Path, ...]  # absolute; as landed (perhaps .gz)
    lines: int  # physical lines of text formats, blank ones included; 0 for Parquet
    blank: int
    manifests: tuple[Path, ...] = ()  # that list the paths
    beside: tuple[Path, ...] = ()  # that describe them, and are no part of what arrived


@dataclass(frozen=True)
class Manifest:
    """What one manifest says of its set of files."""

    files: tuple[tuple[str, int | None], ...]  # as the vendor names them, with their bytes where it says so
    scope: str  # the report and period that a newer set of the same words replaces
    version: str  # sorts with time; '' where the vendor's ids do not


@dataclass(frozen=True)
class Manifests:
    """How a format's manifests are told and read. A manifest is written last: until it is there, its files wait."""

    names: tuple[str, ...]  # how their names end
    read: Callable[[str], Manifest]  # ValueError for a text that is no manifest
    awaited: re.Pattern[str]  # a file of this name is never a delivery of its own, it waits for a manifest


FileRule = Callable[[Any, Path], bool]  # of the source's entry and one of its files


@dataclass(frozen=True)
class Format:
    """One readable format.

    `read(con, delivery, source)` leaves `parsed` (and `coverage` for bills and usage); `source` is the entry of sources.yaml.
    `line_records` says that every non-blank physical line is one row of `parsed`: landing then proves it. `in_lines`
    says that `source_row` is a physical line that may hold several rows or none. Both may depend on the source and file.
    `several` says that one of these rows may come with more of the same line.
    `document` says that a file is one JSON document, perhaps all of it on one line.
    `pages` says that files of one folder may continue each other (`has_more`) and arrive as one delivery.
    `manifests` says that files may arrive with a manifest that lists them, as one delivery.
    `beside` says in words what a JSON file beside the data tells of it (ValueError: nothing); it describes what stands in its folder and
    below, and from a folder `metadata` on what stands in the folder around that.
    `small_files` says that many small files of JSON lines may be read as one, because every record has an id of its own.
    `pair` names two datasets of the same money: a file or set with one of the words in its path waits for its like with
    the other word, and both arrive as one delivery.
    `commit_marks` says that a file `manifests/<name>.json` beside the folders of the data says that all up to that name is written: what is
    named later waits for it. Where no such folder is, files are taken as they come. A data file without a byte says that nothing happened.
    `needs_account` says that the files name no account: sources.yaml does.
    """

    name: str
    kind: str
    suffixes: tuple[str, ...]
    read: Callable[[duckdb.DuckDBPyConnection, Delivery, Any], None]
    line_records: bool | FileRule = False
    in_lines: bool | FileRule = False
    several: bool = False
    pages: bool = False
    manifests: Manifests | None = None
    pair: tuple[str, str] | None = None
    document: bool = False
    commit_marks: bool = False
    needs_account: bool = False
    small_files: bool = False
    beside: Callable[[str], str] | None = None


def month(day: date) -> str:
    return f"{day:%Y-%m}"
