"""How fast a night is, as a ratio against a bare DuckDB query over the same gateway files in the same run.

    python -m tests.bench.nightly --scale 10      # about 300,000 events

Prints seconds of the first night, of the second (nothing new), of the bare query, the ratio, and peak memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from pipelines import sample
from pipelines.home import Home

THROUGH = sample.NIGHTS[-1][0]
BARE = """
select count(*), sum(coalesce((json ->> '$.prompt_tokens')::bigint, 0)), sum(coalesce((json ->> '$.completion_tokens')::bigint, 0))
from read_json_objects(?, format = 'newline_delimited', ignore_errors = true)
"""


def timed_night(home: Home) -> tuple[float, int]:
    """Seconds and peak resident bytes of one `apportion nightly` in its own process."""
    before = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pipelines", "nightly", "--through", f"{THROUGH}", "--home", str(home.root)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the night failed")
    return time.perf_counter() - before, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the sample company's traffic")
    scale = parser.parse_args().scale
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        sample.install(home.root)
        sample.write(home.root, THROUGH, sample.Truth.make(scale=scale))
        files = [str(p) for p in sorted((home.landing / "gateway" / "litellm-prod").rglob("*.gz"))]
        before = time.perf_counter()
        events = duckdb.connect().execute(BARE, [files]).fetchall()[0][0]
        bare = time.perf_counter() - before
        first, peak = timed_night(home)
        second, _ = timed_night(home)
    print(f"{events:,} lines  first {first:.1f} s  second {second:.2f} s  bare {bare:.2f} s  ratio {first / bare:.1f}  peak {peak / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
