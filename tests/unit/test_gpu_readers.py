"""GPU usage: every line is accounted for, jobs and pods hold what the truth says, odd lines are rejected with a reason."""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from pipelines.errors import Refused
from pipelines.sample import Truth
from pipelines.sample.writers import koku
from pipelines.sample.writers import sacct as sacct_writer
from pipelines.sources import GPU_USAGE, Delivery, Format
from pipelines.sources.gpu import koku_gpu, sacct

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "gpu"
TRUTH = Truth.make(scale=0.02)
Found = dict[str, Any]


def read(format_: Format, path: Path, time_zone: str | None = None) -> list[Found]:
    delivery = Delivery("id", "gpu", "cluster", (path,), 0, 0)
    with duckdb.connect() as con:
        con.execute("set timezone = 'Asia/Tokyo'")
        format_.read(con, delivery, SimpleNamespace(cluster="batch", time_zone=time_zone))
        found = con.execute("select * from parsed order by source_row")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        types = dict(con.execute("select column_name, column_type from (describe parsed)").fetchall())
        assert types == {**GPU_USAGE, "source_row": "BIGINT", "reject": "VARCHAR"}
        return rows


def good(rows: list[Found]) -> list[Found]:
    return [row for row in rows if row["reject"] is None]


# --- Slurm -------------------------------------------------------------------------------------------------------


def test_jobs_of_the_sample_are_read_back(tmp_path: Path) -> None:
    start, end, pulled = datetime(2026, 10, 1), datetime(2026, 10, 6), datetime(2026, 10, 6, 0, 30)
    data = sacct_writer.write(TRUTH.jobs, start, end, pulled)
    path = tmp_path / "sacct.log.gz"
    path.write_bytes(gzip.compress(data))
    rows = read(sacct.FORMAT, path)
    assert sacct.FORMAT.line_records and [row["source_row"] for row in rows] == list(range(1, data.count(b"\n") + 1))
    jobs = [job for job in TRUTH.jobs if job.start < end and job.end > start]
    wanted = Counter(
        (job.job_id, job.account, job.gpus, job.start, min(job.end, pulled), "a100" if job.typed else None)
        for job in jobs
    )
    fields = ("holder_id", "account", "gpus", "interval_start", "interval_end", "gpu_model")
    assert Counter(tuple(row[name] for name in fields) for row in good(rows)) == wanted
    assert all(
        row["held_seconds"] == (row["interval_end"] - row["interval_start"]).total_seconds() for row in good(rows)
    )
    assert Counter(row["reject"] for row in rows if row["reject"]) == {
        "job_step": sum(job.raw_id % 9 == 0 for job in jobs),
        "not_started": 1,
    }
    assert len({row["event_id"] for row in good(rows)}) == len(jobs)


def line(**changes: str) -> str:
    names = ["jobid", "jobidraw", "cluster", "partition", "qos", "account", "group", "gid", "user", "uid", "submit", "eligible", "start", "end", "elapsed", "exitcode", "state", "nnodes", "ncpus", "reqcpus", "reqmem", "reqtres", "alloctres", "timelimit", "nodelist", "jobname"]
    values = dict.fromkeys(names, "x") | {
        "jobid": "7_1", "jobidraw": "9", "account": "a", "start": "2026-10-25T00:30:00", "end": "2026-10-25T04:30:00",
        "elapsed": "05:00:00", "state": "COMPLETED", "alloctres": "cpu=1,gres/gpu=2",
    }  # fmt: skip
    return "|".join({**values, **changes}.values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alloctres": "gres/gpu=4,gres/gpu:a100=4"}, {"gpus": 4, "gpu_model": "a100"}),
        ({"alloctres": "gres/gpu:a100=2,gres/gpu:h100=1"}, {"gpus": 3, "gpu_model": None}),
        ({"alloctres": "gres/gpumem=80G,gres/gpuutil=9"}, {"reject": "no_gpu"}),
        ({"jobname": "a|b|c"}, {"reject": None, "gpus": 2}),
        ({"state": "CANCELLED by 501"}, {"reject": None, "state": "CANCELLED"}),
        ({"jobid": "7_1.batch"}, {"reject": "job_step"}),
        ({"start": "Unknown"}, {"reject": "not_started"}),
        ({"end": "yesterday"}, {"reject": "bad_time"}),
        ({"end": "2026-10-01T00:00:00"}, {"reject": "bad_time"}),
        ({"end": "Unknown", "elapsed": "1-00:00:01", "state": "RUNNING"}, {"held_seconds": 86_401, "reject": None}),
        ({"end": "Unknown", "elapsed": "", "state": "RUNNING"}, {"reject": "bad_time"}),
        ({"end": "Unknown"}, {"reject": "ended_without_end"}),
        ({"elapsed": "03:00:00"}, {"held_seconds": 3 * 3600, "reject": None}),  # suspended for an hour
        ({"elapsed": "999999999999-00:00:00"}, {"held_seconds": 4 * 3600, "reject": None}),
        ({"start": "1970-01-01T00:00:00"}, {"reject": "bad_time"}),
        ({"submit": "2026-10-25T00:00:00", "eligible": "2026-10-25T00:20:00"}, {"queue_seconds": 600, "reject": None}),  # held back for twenty minutes by its own wish
        ({"submit": "2026-10-25T00:00:00", "eligible": "Unknown"}, {"queue_seconds": 1800, "reject": None}),
        ({"submit": "2026-10-25T00:00:00", "eligible": "2026-10-25T00:30:01"}, {"queue_seconds": None, "reject": None}),
        ({"submit": "1970-01-01T00:00:00", "eligible": ""}, {"queue_seconds": None, "reject": None}),
        ({}, {"queue_seconds": None}),
        ({"state": "PENDING"}, {"reject": "not_started"}),
        ({"state": "DREAMING"}, {"reject": "unknown_state"}),
        ({"state": ""}, {"reject": "unknown_state"}),
        ({"state": "REQUEUED"}, {"reject": None, "held_seconds": 4 * 3600}),
        ({"state": "NODE_FAIL", "nodelist": "None assigned", "alloctres": ""}, {"reject": "no_gpu", "node": None}),
        ({"alloctres": "gres/gpu=99999999999999999999"}, {"reject": "absurd_gpus"}),
        ({"alloctres": "gres/gpu:a100=99999999999999999999"}, {"reject": "absurd_gpus"}),
        ({"alloctres": "gres/gpu=9999999"}, {"reject": "absurd_gpus"}),
        ({"alloctres": "gres/gpu:a100_3g.20gb=2"}, {"gpus": 2, "slice_num": 3, "slice_den": 7, "reject": None}),
        ({"alloctres": "gres/gpu:a100_9g.20gb=2"}, {"reject": "unknown_mig_profile"}),
        ({"jobname": "\u202e|💣|" + "x" * 100_000, "account": "Zoë\u200b"}, {"reject": None, "account": "Zoë\u200b"}),
        ({"jobid": "JobID"}, {"reject": "header"}),
    ],
)
def test_lines_of_sacct(tmp_path: Path, changes: dict[str, str], said: Found) -> None:
    path = tmp_path / "sacct.log"
    path.write_text("\n" + line(**changes) + "\r\n\nhalf|a line\n")
    row, half = read(sacct.FORMAT, path)
    assert {name: row[name] for name in said} == said
    assert (row["source_row"], half["source_row"], half["reject"]) == (2, 4, "too_few_fields")


def test_local_times_become_utc_across_the_change_of_clocks(tmp_path: Path) -> None:
    path = tmp_path / "sacct.log"
    path.write_text(line() + "\n")
    (row,) = read(sacct.FORMAT, path, "Europe/Dublin")
    assert (row["interval_start"], row["interval_end"]) == (
        datetime(2026, 10, 24, 23, 30),
        datetime(2026, 10, 25, 4, 30),
    )
    assert (row["held_seconds"], row["event_id"]) == (5 * 3600, "9@2026-10-24T23:30:00Z")


def test_published_sacct_sample() -> None:
    path = SAMPLES / "slurm" / "sacct_handmade.log"
    if not path.exists():
        pytest.skip("no Slurm sample beside the checkout")
    rows = read(sacct.FORMAT, path)
    assert [row["reject"] for row in rows if row["reject"]] == ["not_started", "job_step", "no_gpu"]
    assert {row["holder_id"]: row["gpus"] for row in good(rows)}["700103"] == 3


# --- Koku --------------------------------------------------------------------------------------------------------

HEADER, FIRST = "2026-10-01 00:00:00 +0000 UTC", "2026-10-01 00:59:59 +0000 UTC"


def koku_row(**changes: str) -> str:
    values = {
        "start": HEADER, "end": HEADER, "interval_start": HEADER, "interval_end": FIRST, "node": "n", "namespace": "team",
        "pod": "p", "uuid": "GPU-1", "model": "H100", "vendor": "v", "memory": "1", "uptime": "3600", "id": "", "profile": "",
        "strategy": "",
    }  # fmt: skip
    return ",".join({**values, **changes}.values())


def test_pods_of_the_sample_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    start = datetime(2026, 10, 1)
    path.write_bytes(koku.write(TRUTH.serving, start, start + timedelta(days=2)))
    rows = read(koku_gpu.FORMAT, path)
    assert len(good(rows)) == len(rows) == 48 * len(TRUTH.serving.pods)
    assert {row["interval_end"] - row["interval_start"] for row in rows} == {timedelta(hours=1)}
    assert {(row["namespace"], row["holder_id"], row["gpu_uuid"]) for row in rows} == set(TRUTH.serving.pods)
    assert {(row["held_seconds"], row["slice_num"], row["slice_den"], row["holder_kind"]) for row in rows} == {
        (3600, 1, 1, "pod")
    }
    assert len({row["event_id"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "MIG-1", "profile": "3g.20gb"}, {"slice_num": 3, "slice_den": 7, "reject": None}),
        ({"id": "MIG-1", "profile": "1g.10gb+me", "model": "NVIDIA A30"}, {"slice_num": 1, "slice_den": 4}),
        ({"profile": "half"}, {"reject": "unknown_mig_profile"}),
        ({"profile": "9g.80gb"}, {"reject": "unknown_mig_profile"}),
        ({"uptime": "1800.000000"}, {"held_seconds": 1800, "reject": None}),
        ({"uptime": "3601"}, {"reject": "held_longer_than_interval"}),
        ({"uptime": "-1"}, {"reject": "bad_uptime"}),
        ({"uptime": "1e30"}, {"reject": "bad_uptime"}),
        ({"uptime": "99999999999999999999"}, {"reject": "bad_uptime"}),
        ({"uptime": "NaN"}, {"reject": "bad_uptime"}),
        ({"profile": "99999999999g.1gb"}, {"reject": "unknown_mig_profile"}),
        ({"id": "MIG-1", "profile": "2g.48gb", "model": "NVIDIA RTX PRO 6000 Blackwell"}, {"slice_num": 2, "slice_den": 4}),
        ({"id": "MIG-1", "profile": "1g.24gb", "model": "NVIDIA-RTX-PRO-5000"}, {"slice_num": 1, "slice_den": 2}),
        ({"uptime": ""}, {"reject": "bad_uptime"}),
        ({"interval_start": "2026-10-01 00:00:00 +0200 CEST"}, {"reject": "bad_time"}),
        ({"uuid": ""}, {"reject": "no_gpu"}),
        ({"pod": ""}, {"holder_kind": "none", "reject": None}),
    ],
)
def test_rows_of_koku(tmp_path: Path, changes: dict[str, str], said: Found) -> None:
    path = tmp_path / "usage.csv"
    path.write_text(f"{koku.HEADER}\n{koku_row(**changes)}\n")
    (row,) = read(koku_gpu.FORMAT, path)
    assert {name: row[name] for name in said} == said


def test_koku_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    path.write_text(koku.HEADER.replace("gpu_pod_uptime", "uptime") + "\n")
    with pytest.raises(Refused, match=r"gpu/cluster/usage\.csv: column gpu_pod_uptime is missing"):
        read(koku_gpu.FORMAT, path)
    path.write_text(f"{koku.HEADER}\n{koku_row()}\nsecret,row\n")
    with pytest.raises(Refused, match=r"line 3") as error:
        read(koku_gpu.FORMAT, path)
    assert "secret" not in str(error.value)


def test_published_koku_sample() -> None:
    path = SAMPLES / "koku" / "October-2026-gpu-cluster-1-ocp_gpu_usage.csv"
    if not path.exists():
        pytest.skip("no Koku sample beside the checkout")
    rows = read(koku_gpu.FORMAT, path)
    assert len(good(rows)) == 192
    assert {(row["slice_num"], row["slice_den"]) for row in rows} == {(1, 1), (1, 7), (2, 7)}
