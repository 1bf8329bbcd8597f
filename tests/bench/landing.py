"""What a folder of one-object files costs to land, against a bare DuckDB read of the same lines in one file.

    python -m tests.bench.landing --files 100000

Writes the files itself (a LiteLLM payload each). Prints CPU seconds, wall seconds and peak memory of the first night's
landing, of a second one with nothing new, of one after a new release of the reader, and of the bare `read_json`, each in
its own process, and the ratios. (DuckDB itself, given the 100,000 files, did not end within minutes.)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipelines.home import Home

FILLER = "What a team asked and what it was told. " * 12

BARE = """
import duckdb, sys
columns = "{id: 'VARCHAR', model: 'VARCHAR', prompt_tokens: 'BIGINT', completion_tokens: 'BIGINT', response_cost: 'VARCHAR', metadata: 'JSON'}"
con = duckdb.connect(config={'memory_limit': '900MB'})
con.execute('set enable_progress_bar = false')
print(con.execute(f"copy (select * from read_json('{sys.argv[1]}', columns = {columns}, format = 'newline_delimited')) to '{sys.argv[2]}'").fetchall()[0][0])
"""

LAND = """
import sys
from datetime import date
from pathlib import Path
from pipelines import landing
from pipelines.books import Arrivals, Books
from pipelines.home import Home
from pipelines.policy.files import Sources
from pipelines.warehouse import open_warehouse
if len(sys.argv) > 2:
    landing._code = lambda format_: sys.argv[2]
home, night = Home(Path(sys.argv[1])), date(2026, 10, 4)
with open_warehouse(home) as con:
    sources = Sources(version=1, gateways=[{'name': 's', 'format': 'litellm'}])
    report = landing.land(con, home, sources, night, Arrivals(Books(home), con, night), lambda text: None)
    print(report.new, 'deliveries', report.good, 'rows')
"""


def payload(n: int) -> str:
    start = 1791000000 + n * 0.25
    return json.dumps(
        {
            "id": f"chatcmpl-{n:032x}", "trace_id": f"{n:032x}", "call_type": "acompletion", "cache_hit": None, "stream": False,
            "status": "success", "custom_llm_provider": "openai", "response_cost": 0.00123 + n % 7 / 1e6, "total_tokens": 1500 + n % 100,
            "prompt_tokens": 1000 + n % 100, "completion_tokens": 500, "startTime": start, "endTime": start + 1.5,
            "completionStartTime": start + 0.4, "response_time": 1.5, "model": "gpt-4o-mini", "model_group": "chat", "api_base": "",
            "end_user": f"user-{n % 997}", "request_tags": ["application:search"], "messages": FILLER, "response": FILLER[::-1],
            "metadata": {"user_api_key_hash": f"{n % 50:064x}", "user_api_key_alias": f"key-{n % 50}", "user_api_key_team_id": f"team-{n % 9}",
                         "usage_object": {"prompt_tokens": 1000 + n % 100, "completion_tokens": 500, "total_tokens": 1500 + n % 100}},
        }
    )  # fmt: skip


def measured(*words: str) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak megabytes of one Python process."""
    before = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", *words])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the process failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - before, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name))
        folder = home.landing / "gateway" / "s"
        with open(f"{name}/lines.jsonl", "w") as lines:
            for n in range(count):
                if n % 1000 == 0:
                    (folder / f"{n // 1000:04}").mkdir(parents=True)
                (folder / f"{n // 1000:04}" / f"{n}.json").write_text(payload(n))
                lines.write(payload(n) + "\n")
        bare = measured(BARE, f"{name}/lines.jsonl", f"{name}/bare.parquet")
        for what, words in (("first", ()), ("nothing new", ()), ("new reader", ("next",))):
            cpu, wall, peak = measured(LAND, name, *words)
            print(f"{what:<12} CPU {cpu:6.1f} s  wall {wall:6.1f} s  peak {peak:6.0f} MB  CPU x {cpu / bare[0]:.2f} of bare read_json")
        print(f"{'bare':<12} CPU {bare[0]:6.1f} s  wall {bare[1]:6.1f} s  peak {bare[2]:6.0f} MB  ({count:,} files)")


if __name__ == "__main__":
    main()
