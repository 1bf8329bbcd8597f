"""A night or a decision that is killed anywhere and run again ends as if nothing had happened, and readers see whole versions only."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs, sample
from pipelines.books import Books
from pipelines.home import Home
from pipelines.inspection import verify
from tests.closing import Company
from tests.conftest import quiet

THROUGH = date(2026, 9, 12)
TRUTH = sample.Truth.make(scale=0.005)
POINTS = range(1, 400, 37)  # every so many durable steps of the night
MOMENTS = 5

# Runs a job in a child that is killed after so many durable steps or seconds. The parent imports and reads everything
# once and forks before any thread exists, so that a few dozen nights stay quick: the models are parsed, with DuckDB's
# threads, in a child of their own. Reads lines of [root, steps, seconds, job, its arguments].
# A team's workbook is the text of its lines here: how a workbook is made is no matter of when the night is killed.
SERVER = r"""
import json, os, pickle, signal, sys, threading, time
from datetime import date
from decimal import Decimal
from pathlib import Path
import pytest
from pipelines import jobs, landing, models, normalize, reconcile, allocate, checks, publish, reports, close, books, insight, notify, policy, rate, warehouse
from pipelines.home import Home
from pipelines.render import digest, engineering, html, index, journal, names, overview, workbook
from tests.closing import few_rows

def lines(con, period, version, team_id):
    select = "from statement_lines where period = ? and version = ? and team_id = ? order by all"
    text = repr(con.execute(select, [period, version, team_id]).fetchall()).encode()
    return {f"{team_id}{suffix}": text for suffix in (".xlsx", ".html")}

def parsed():
    return {name: models.stage(name) for name in models.STAGES}, models.checks(), models.drivers()

reading, writing = os.pipe()
if os.fork() == 0:
    with open(writing, "wb") as pipe:
        pickle.dump(parsed(), pipe)
    os._exit(0)
os.close(writing)
with open(reading, "rb") as pipe:
    stages, of_checks, of_drivers = pickle.load(pipe)
os.wait()
models.stage, models.checks, models.drivers = stages.__getitem__, lambda: of_checks, lambda: of_drivers
for template in html._environment().list_templates(filter_func=lambda name: "/" not in name):
    html._environment().get_template(template)
workbook.files = lines
few_rows(pytest.MonkeyPatch())

def child(root, steps, seconds, job, args):
    left = [steps]
    def counted(name):
        real = getattr(os, name)
        def step(*args, **kwargs):
            if steps:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        setattr(os, name, step)
    for name in ("replace", "fsync", "symlink"):
        counted(name)
    if seconds:
        threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    made = {"nightly": [date.fromisoformat], "dispute": [str, str, list, Decimal, str, str, str]}.get(job, [str] * len(args))
    getattr(jobs, job)(Home(Path(root)), *(make(arg) for make, arg in zip(made, args, strict=True)), lambda text: None)
    os._exit(0)

print("ready", flush=True)
for line in sys.stdin:
    root, steps, seconds, job, args = json.loads(line)
    policy.load(Home(Path(root)).policy)
    pid = os.fork()
    if pid == 0:
        try:
            child(root, steps, seconds, job, args)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(3)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Server:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "DAGSTER_HOME": ""},
        )  # fmt: skip
        assert self.answer() == "ready"

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def night(self, root: Path, steps: int = 0, seconds: float = 0) -> int:
        """Exit code of one night: 0, or -9 where it was killed."""
        return self.run(root, "nightly", THROUGH.isoformat(), steps=steps, seconds=seconds)

    def run(self, root: Path, job: str, *args: Any, steps: int = 0, seconds: float = 0) -> int:
        """Exit code of one of `jobs`."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([str(root), steps, seconds, job, args]) + "\n")
        self.process.stdin.flush()
        return int(self.answer())

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def server():
    started = Server()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after its first night, with new files waiting for the second."""
    root = tmp_path_factory.mktemp("before")
    sample.install(root)
    sample.write(root, date(2026, 9, 5), TRUTH)
    jobs.nightly(Home(root), date(2026, 9, 5), quiet)
    sample.write(root, THROUGH, TRUTH)
    return root


@pytest.fixture(scope="module")
def undisturbed(before: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = copy(before, tmp_path_factory.mktemp("undisturbed"))
    started = time.monotonic()
    assert server.night(root) == 0
    global DURATION
    DURATION = time.monotonic() - started
    return content(Home(root))


DURATION = 5.0


def copy(source: Path, folder: Path) -> Path:
    return Path(shutil.copytree(source, folder / "home", symlinks=True))


def content(home: Home) -> str:
    """Everything that a reader can see: every row in its order, and the bytes of the drafts and the door page.

    The database's own bytes hold the absolute paths of the lake files behind its view, so they differ between homes.
    """
    digest = hashlib.sha256(home.current.resolve().name.encode())
    with duckdb.connect(str(home.current), read_only=True) as con:
        tables = con.execute("select table_name from information_schema.tables order by 1").fetchall()
        assert len(tables) > 15
        for (table,) in tables:
            digest.update(f"{table} {con.execute(f'from {table}').fetchall()}".encode())
    for path in sorted(p for p in home.reports.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(home.reports)).encode() + path.read_bytes())
    return digest.hexdigest()


def whole(home: Home) -> None:
    """What is published now can be read and is what its manifest says; nothing is published is fine too."""
    if home.current.exists():
        _, problems = verify(home)
        assert problems == []


@pytest.mark.parametrize("steps", POINTS)
def test_killed_at_a_durable_step(before: Path, undisturbed: str, server: Server, tmp_path: Path, steps: int) -> None:
    root = copy(before, tmp_path)
    ended = server.night(root, steps=steps)
    assert ended in (0, -signal.SIGKILL)
    whole(Home(root))
    assert server.night(root) == 0
    assert content(Home(root)) == undisturbed


@pytest.mark.parametrize("seed", range(MOMENTS))
def test_killed_at_any_moment(before: Path, undisturbed: str, server: Server, tmp_path: Path, seed: int) -> None:
    root = copy(before, tmp_path)
    chance = random.Random(seed)
    for _ in range(2):
        ended = server.night(root, seconds=chance.uniform(0.05, DURATION))
        assert ended in (0, -signal.SIGKILL)
        whole(Home(root))
    assert server.night(root) == 0
    assert content(Home(root)) == undisturbed


def test_a_reader_sees_whole_versions_only(before: Path, undisturbed: str, server: Server, tmp_path: Path) -> None:
    """A reader opens current.duckdb again and again while a night publishes: always one version, whole."""
    root = copy(before, tmp_path)
    home = Home(root)
    manifests = {}
    seen: list[str] = []
    errors: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            name = home.current.resolve().name
            try:
                with duckdb.connect(str(home.current.resolve()), read_only=True) as con:
                    total = con.execute("select sum(effective_cost)::varchar, count(*) from ledger").fetchall()
                    lines = con.execute("select sum(amount)::varchar from statement_lines").fetchall()
                manifests.setdefault(name, set()).add(json.dumps([total, lines]))
                seen.append(name)
            except (duckdb.Error, OSError) as error:
                errors.append(repr(error))
                return
            time.sleep(0.02)

    reader = threading.Thread(target=read)
    reader.start()
    assert server.night(root) == 0
    time.sleep(0.3)
    stop.set()
    reader.join()
    assert not errors
    assert len(set(seen)) == 2 and all(len(answers) == 1 for answers in manifests.values())
    assert content(home) == undisturbed


DAY = "2026-10-05"
DECISIONS = {
    "approve": ("2026-09", "review", "carol"),
    "dispute": ("a", "2026-09", [1], "1", "wrong_team", "not ours", "Lead"),
    "reopen": ("2026-09", "carol", "a late bill"),
}
BEFORE_THE_ENTRY, AFTER_IT, LATER = 3, 4, 12  # of an entry its text, its folder and its place are durable steps


@pytest.fixture(scope="module")
def decided(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Homes to decide something in: of a month that is not closed yet, and of a closed one."""
    company = Company(tmp_path_factory.mktemp("decided") / "home")
    company.bill("2026-09-03,p-a,x,10", "2026-09-04,,shared,9", "2026-09-20,p-b,y,3")
    root = company.home.root
    assert server.run(root, "nightly", DAY) == 0
    closed = copy(root, tmp_path_factory.mktemp("closed"))
    assert server.run(closed, "close", "2026-09", "carol") == 0
    return {"approve": root, "dispute": root, "reopen": closed}


@pytest.mark.parametrize("job", DECISIONS)
def test_a_killed_decision_is_in_the_books_whole_or_not_at_all(
    decided: dict[str, Path], server: Server, tmp_path_factory: pytest.TempPathFactory, job: str
) -> None:
    """Whoever decided does so again where it is not there; where it is, the night publishes it."""
    before, said = len(Books(Home(decided[job])).entries), DECISIONS[job]
    root = copy(decided[job], tmp_path_factory.mktemp("undisturbed"))
    assert server.run(root, job, *said) == 0
    wanted = content(Home(root))
    assert wanted != content(Home(decided[job]))
    for steps in (BEFORE_THE_ENTRY, AFTER_IT, LATER):
        home = Home(copy(decided[job], tmp_path_factory.mktemp("killed")))
        assert server.run(home.root, job, *said, steps=steps) == -signal.SIGKILL
        whole(home)
        books = Books(home)
        assert books.problems() == [] and len(books.entries) == before + (steps > BEFORE_THE_ENTRY)
        again = (job, *said) if steps == BEFORE_THE_ENTRY else ("nightly", DAY)
        assert server.run(home.root, *again) == 0
        assert content(home) == wanted
