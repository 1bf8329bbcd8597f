"""Homes that tests run the real engine on: the sample company, made once and copied."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import policy, sample
from pipelines.home import Home, asset

os.environ.setdefault("OPENPYXL_LXML", "False")  # as the product has it, whichever test imports openpyxl first

SMALL = 0.05  # share of the sample company's events that quick tests use


def quiet(text: str) -> None:
    """A `say` for jobs whose progress nobody watches."""


@contextmanager
def _made_once(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder that all test processes share, and whether it still has to be filled; one process at a time."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared / f"{name}.done"
        yield shared / name, not done.exists()
        done.touch()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """The `apportion` command without the second that a process needs to start: its exit code and what it wrote."""
    from pipelines import cli

    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(sys, "argv", ["apportion", *words])
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def make_company(root: Path, truth: sample.Truth | None = None, nights: Any = sample.NIGHTS) -> Home:
    """The sample company under `root`: its policy, and the given nights run and months closed."""
    from pipelines import jobs
    from pipelines.sample import decisions

    home = Home(root)
    sample.install(root)
    for through, closes in nights:
        sample.write(root, through, truth)
        jobs.nightly(home, through, quiet)
        if closes:
            jobs.close(home, closes, "finance", quiet)
            decisions.dispute(home, closes, quiet)
    return home


def empty_home(root: Path, sources: str, first_period: str = "2026-09") -> Home:
    """A home with the template's policy and these sources; nothing has landed and nothing has run."""
    policy.write_template(root / "data" / "policy", first_period)
    (root / "data" / "policy" / "sources.yaml").write_text(sources)
    shutil.copytree(asset("data", "list_prices"), root / "data" / "list_prices")
    return Home(root)


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The whole sample company, September closed and October open. Read only: copy it with `company_copy` to change it."""
    with _made_once(tmp_path_factory, "company") as (root, to_fill):
        if to_fill:
            make_company(root)
    return Home(root)


@pytest.fixture(scope="session")
def small_company(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same company with a twentieth of the traffic. Read only."""
    with _made_once(tmp_path_factory, "small-company") as (root, to_fill):
        if to_fill:
            make_company(root, sample.Truth.make(scale=SMALL))
    return Home(root)


@pytest.fixture(scope="session", autouse=True)
def _one_company_each(request: pytest.FixtureRequest) -> None:
    """Two processes begin with a company each, where tests want them, rather than wait for each other's later on."""
    mine = {"gw0": "company", "gw1": "small_company"}.get(os.environ.get("PYTEST_XDIST_WORKER", ""))
    if mine and any(mine in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue(mine)


@pytest.fixture(scope="session", autouse=True)
def _no_disk_to_wait_for() -> Iterator[None]:
    """Tests kill processes, never the machine: what they wrote need not have reached the disk."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def company_copy(small_company: Home, tmp_path: Path) -> Home:
    """A copy of the small company that a test may break."""
    shutil.copytree(small_company.root, tmp_path / "home", symlinks=True)
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def published(company: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """What an analyst opens: the whole company's published file."""
    with duckdb.connect(str(company.current), read_only=True) as con:
        con.execute("set TimeZone = 'UTC'")
        yield con


Rows = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="session")
def rows(published: duckdb.DuckDBPyConnection) -> Rows:
    """Rows of one query over the published file."""
    return lambda sql, params=None: published.execute(sql, params or []).fetchall()


DAY_1, DAY_2 = date(2026, 10, 5), date(2026, 10, 31)
