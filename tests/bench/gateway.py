"""What landing and normalizing LiteLLM payloads costs, as a ratio against a bare typed read_json of the same files in the same run.

    python -m tests.bench.gateway --lines 1000000

Each case runs in a process of its own. Prints CPU seconds (user and system) and peak memory of the bare query (the fields
that the pipeline needs, straight to Parquet) and of the night up to the rollup: land with quarantine, normalize, the checks of both, and rate.
The first ratio has everything (start of the process included) but rating, whose owners, prices and daily facts the bare query has nothing of; the
second has that too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from pipelines import checks, jobs, models, sample
from pipelines.home import Home
from pipelines.normalize import normalize
from pipelines.rate import rate
from pipelines.run import open_run
from pipelines.sample.writers import litellm

FIRST, FILES = date(2026, 9, 1), 10
LEFT_OUT = ("stream", "saved_cache_cost", "completionStartTime", "model_group", "error_information")
LAND_CHECKS = ("landing_accounts_for_every_line", "usage_counts_every_event")
WORDS = ["please", "summarise", "the", "attached", "contract", "clause", "about", "renewal", "notice", "terms", "and", "list", "every", "obligation", "with", "its", "date", "owner"]
USAGE = {
    "prompt_tokens_details": {"cached_tokens": "BIGINT", "cache_creation_token_details": {"ephemeral_1h_input_tokens": "BIGINT"}},
    "completion_tokens_details": {"reasoning_tokens": "BIGINT"},
    "cache_read_input_tokens": "BIGINT",
    "cache_creation_input_tokens": "BIGINT",
}
REQUESTER = dict.fromkeys(
    ("environment", "application", "customer_id", "user_tier", "request_type", "triggered_by", "vector_index_id", "session_id"), "VARCHAR"
)
METADATA = {
    **dict.fromkeys(("user_api_key_alias", "user_api_key_team_id", "user_api_key_team_alias", "user_api_key_project_id"), "VARCHAR"),
    "attempted_retries": "INTEGER",
    "requester_metadata": REQUESTER,
    "spend_logs_metadata": {"routing_reason": "VARCHAR", "quality_score": "DECIMAL(9,6)"},
    "usage_object": USAGE,
}
BARE = {
    **dict.fromkeys(("id", "trace_id", "session_id", "call_type", "status", "custom_llm_provider", "model"), "VARCHAR"),
    **dict.fromkeys(("startTime", "endTime", "response_time"), "DECIMAL(24,6)"),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), "BIGINT"),
    "cache_hit": "BOOLEAN",
    "end_user": "VARCHAR",
    "response_cost": "DECIMAL(38,12)",
    "metadata": METADATA,
}


def write(folder: Path, lines: int) -> None:
    """`lines` payloads of about 1.2 KB in files of a day each; one in a thousand cannot be read, one in five hundred comes twice."""
    folder.mkdir(parents=True)
    events = sample.Truth.make().of("litellm-prod")
    payloads = [litellm.payload(event) for event in events if event.input_uncached >= 0]
    chosen = random.Random(1)
    for n in range(FILES):
        midnight = datetime.combine(FIRST + timedelta(days=n), datetime.min.time(), UTC).timestamp()
        with gzip.open(folder / f"day-{n}.jsonl.gz", "wt", compresslevel=6, encoding="utf-8") as file:
            for i in range(lines // FILES):
                again, at = divmod(n * (lines // FILES) + i, len(payloads))
                text = json.dumps(_payload(chosen, payloads[at], again, midnight + i * 0.05 % 86_000), separators=(",", ":"))
                file.write(("{" if i % 1000 == 7 else text) + "\n")
                if i % 500 == 3:
                    file.write(text + "\n")


def _payload(chosen: random.Random, payload: dict[str, Any], again: int, start: float) -> dict[str, Any]:
    """Another call like `payload`; each time `again` in traces and sessions of its own, as large as those it came from."""
    said = " ".join(chosen.choices(WORDS, k=12))
    return {name: value for name, value in payload.items() if name not in LEFT_OUT} | {
        "id": f"chatcmpl-{chosen.getrandbits(128):032x}",
        **{name: payload[name] and f"{payload[name]}-{again}" for name in ("trace_id", "session_id")},
        "startTime": round(start, 3),
        "endTime": round(start + payload["response_time"], 3),
        "messages": [{"role": "user", "content": said}],
        "response": {"choices": [{"message": {"content": said[::-1]}}]},
    }


def bare(home: Home) -> dict[str, float]:
    """One typed read of all files, straight to one Parquet file."""
    con = duckdb.connect()
    before = _cpu()
    con.execute(
        "copy (select * from read_json($files, columns = $columns, format = 'newline_delimited', ignore_errors = true))"
        " to $target (format parquet, compression zstd)",
        {"files": _files(home), "columns": _types(BARE), "target": str(home.root / "bare.parquet")},
    )
    return {"query": _cpu() - before}


def night(home: Home) -> dict[str, float]:
    """Every stage up to the rollup, over a home that has nothing yet."""
    took = {}
    with open_run(home, FIRST + timedelta(days=FILES), lambda _: None) as run:
        before = _cpu()
        jobs.land(run)
        took["land"] = _cpu() - before
        scopes = run.stale()[:1]
        before = _cpu()
        normalize(run, scopes)
        took["normalize"] = _cpu() - before
        before = _cpu()
        rate(run, scopes)
        took["rate"] = _cpu() - before
        before = _cpu()
        found = [checks._check(run, model, {}) for model in models.checks() if model.name in LAND_CHECKS]
        took["checks"] = _cpu() - before
        if any(result.bad_rows for result in found):
            raise SystemExit(f"a check failed: {found}")
        events = run.con.execute("select sum(events) from usage_daily").fetchall()[0][0]
        rejected = run.con.execute("select count(*) from quarantine").fetchall()[0][0]
    print(f"{events:,} events, {rejected:,} in quarantine", file=sys.stderr)
    return took


def _types(fields: dict[str, Any]) -> dict[str, str]:
    return {name: kind if isinstance(kind, str) else _struct(kind) for name, kind in fields.items()}


def _struct(fields: dict[str, Any]) -> str:
    return f"STRUCT({', '.join(f'{name} {kind}' for name, kind in _types(fields).items())})"


def _files(home: Home) -> list[str]:
    return [str(path) for path in sorted((home.landing / "gateway" / "litellm-prod").glob("*.gz"))]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(case: str, root: Path) -> tuple[float, float, dict[str, float]]:
    """CPU seconds of a case in a process of its own (its start and children included), peak MB, and what it says of its parts."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.gateway", "--case", case, "--home", str(root)], stdout=subprocess.PIPE)
    assert process.stdout
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{case} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--case", choices=("bare", "night"), help="one case, in this process, as JSON")
    parser.add_argument("--home", type=Path, help="where the files are; kept, for a second look")
    given = parser.parse_args()
    if given.case:
        print(json.dumps({"bare": bare, "night": night}[given.case](Home(given.home))))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        sample.install(home.root)
        write(home.landing / "gateway" / "litellm-prod", given.lines)
        once, once_peak, _ = timed("bare", home.root)
        cpu, peak, stages = timed("night", home.root)
    parts = "  ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())
    landed = (cpu - stages["rate"]) / once
    print(f"{given.lines:,} lines  bare {once:.2f} s CPU, {once_peak:,.0f} MB  night {cpu:.2f} s CPU ({parts}), {peak:,.0f} MB")
    print(f"landed and normalized: ratio {landed:.2f}  with rating and the rollup: {cpu / once:.2f}")


if __name__ == "__main__":
    main()
