"""Dagster and the command line run the same jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from pipelines import definitions, jobs, models, sample
from pipelines.home import CHECKOUT, Home
from tests.closing import without_files
from tests.conftest import DAY_1, quiet


def test_definitions_validate() -> None:
    """What `dagster dev` does first, in a fresh process."""
    ended = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=CHECKOUT, capture_output=True, text=True, env={**os.environ, "DAGSTER_DISABLE_TELEMETRY": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_model_is_an_asset_with_group_kind_and_description() -> None:
    graph = definitions.defs.resolve_asset_graph()
    for stage in models.STAGES:
        for model in models.stage(stage):
            node = graph.get(dg.AssetKey(model.name))
            assert node.group_name == stage and {"duckdb", "sql"} <= node.kinds and model.description in (node.description or "")
    checks = {key.name for key in graph.asset_check_keys}
    assert checks == {model.name for model in models.checks()} | {"no_open_alerts", "alerts_delivered"}


def test_jobs_and_schedule() -> None:
    repository = definitions.defs.get_repository_def()
    assert {"nightly", "month_close"} <= {job.name for job in repository.get_all_jobs()}
    assert [schedule.name for schedule in repository.schedule_defs] == ["every_night"]


def test_a_run_from_dagster_gives_what_the_command_line_gives(small_company: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `nightly` job with its run config, and the `month_close` job, as the UI starts them; test_canary has the workbooks of such a night."""
    from tests.conftest import SMALL

    without_files(monkeypatch)
    truth = sample.Truth.make(scale=SMALL)
    sample.install(tmp_path)
    sample.write(tmp_path, DAY_1, truth)
    job = definitions.defs.resolve_job_def("nightly")
    config = {"resources": {"run": {"config": {"home": str(tmp_path), "through": DAY_1.isoformat()}}}}
    result = job.execute_in_process(run_config=config)
    assert result.success
    ledger = next(e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey("ledger"))
    metadata = ledger.materialization.metadata
    assert metadata["dagster/row_count"].value > 0 and "dagster/column_schema" in metadata and "effective_cost_exact" in metadata
    close = definitions.defs.resolve_job_def("month_close")
    assert close.execute_in_process(run_config={"ops": {"close_month": {"config": {"period": "2026-09", "home": str(tmp_path)}}}}).success
    sample.write(tmp_path, sample.NIGHTS[1][0], truth)
    jobs.nightly(Home(tmp_path), sample.NIGHTS[1][0], quiet)
    assert _figures(Home(tmp_path)) == _figures(small_company)


def _figures(home: Home) -> list[tuple]:
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute("select * from statement_lines order by all").fetchall()
