"""`sacct --parsable2 --noheader`, the twenty-six fields in the order XDMoD asks for; the job name is last.

Native quirks kept: job names contain `|`, cancelled jobs name the canceller, array jobs, job steps, generic and typed
GPUs side by side, a job that waits, and a job that still runs when the file is pulled.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pipelines.sample.truth import GpuJob


def write(jobs: Iterable[GpuJob], start: datetime, end: datetime, pulled: datetime) -> bytes:
    """Jobs that overlap [start, end) as the scheduler knows them at `pulled` (UTC)."""
    rows: list[str] = []
    for job in jobs:
        if job.start < end and job.end > start:
            rows.append(_row(job, pulled))
            if job.raw_id % 9 == 0:
                rows.append(_step(job))
    if rows:
        rows.append(_waiting(pulled))
    return "".join(row + "\n" for row in rows).encode()


def _row(job: GpuJob, pulled: datetime) -> str:
    running = job.end > pulled
    elapsed = (pulled if running else job.end) - job.start
    return _join(
        job,
        job_id=job.job_id,
        times=(job.submit, job.submit, job.start, None if running else job.end),
        elapsed=elapsed,
        exit_code="0:0" if running else job.exit_code,
        state="RUNNING" if running else job.state,
        tres=tres(job),
        name=job.name,
    )


def _step(job: GpuJob) -> str:
    return _join(
        job,
        job_id=f"{job.job_id}.batch",
        times=(job.start, job.start, job.start, job.end),
        elapsed=job.end - job.start,
        exit_code=job.exit_code,
        state=job.state.split()[0],
        tres=f"cpu={job.gpus * 8},gres/gpu={job.gpus},mem={job.gpus * 64}G,node={len(job.nodes)}",
        name="batch",
    )


def tres(job: GpuJob) -> str:
    """What the scheduler gave: typed GPUs beside generic ones for most typed jobs, alone for some."""
    gpus = f"gres/gpu={job.gpus}"
    if job.typed:
        gpus = f"gres/gpu:a100={job.gpus}" if job.raw_id % 3 == 0 else f"{gpus},gres/gpu:a100={job.gpus}"
    return f"billing={job.gpus * 12},cpu={job.gpus * 8},{gpus},mem={job.gpus * 64}G,node={len(job.nodes)}"


def _join(
    job: GpuJob, *, job_id: str, times: tuple[datetime | None, ...], elapsed: timedelta, exit_code: str, state: str,
    tres: str, name: str,
) -> str:  # fmt: skip
    cpus, memory = str(job.gpus * 8), f"{job.gpus * 64}G"
    user = f"u{job.raw_id % 7}"
    raw = str(job.raw_id) + (".batch" if job_id.endswith(".batch") else "")
    nodes = job.nodes[0] if len(job.nodes) == 1 else f"gpu-node-[{job.nodes[0][-1]}-{job.nodes[-1][-1]}]"
    asked = f"billing={job.gpus * 12},cpu={cpus},gres/gpu={job.gpus},mem={memory},node={len(job.nodes)}"
    stamps = ["Unknown" if time is None else f"{time:%Y-%m-%dT%H:%M:%S}" for time in times]
    fields = [
        job_id, raw, "batch", "gpu", "normal", job.account, job.account, "5011", user, "6011", *stamps,
        clock(elapsed), exit_code, state, str(len(job.nodes)), cpus, cpus, memory, asked, tres, "2-00:00:00", nodes, name,
    ]  # fmt: skip
    return "|".join(fields)


def _waiting(pulled: datetime) -> str:
    """An array job in the queue: no start, no node, no GPUs yet."""
    stamp = f"{pulled - timedelta(minutes=10):%Y-%m-%dT%H:%M:%S}"
    return (
        f"99104_[8-20]|99104|batch|gpu|normal|acct-ds|acct-ds|5011|u3|6011|{stamp}|{stamp}|Unknown|Unknown|00:00:00|0:0|"
        "PENDING|1|8|8|64G|billing=12,cpu=8,gres/gpu=1,mem=64G,node=1||04:00:00|None assigned|sweep"
    )


def clock(length: timedelta) -> str:
    """[D-]HH:MM:SS"""
    seconds = int(length.total_seconds())
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text
