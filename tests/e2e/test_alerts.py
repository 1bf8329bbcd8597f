"""Alerts over the sample company: what was planted, once each, and nothing else; what is said about them; and how they are sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines import jobs, models, policy, sample, warehouse
from pipelines.cli import app
from pipelines.home import Home, asset
from pipelines.inspection import status, status_text
from pipelines.publish import require_manifest
from pipelines.sample import company as truth
from tests.conftest import DAY_2, Rows, quiet

PLANTED = ["budget", "cache_drop", "call_loop", "daily_anomaly", "gpu_idle", "source_silent"]


def test_what_was_planted_is_raised_once_and_nothing_else(rows: Rows) -> None:
    assert [kind for (kind,) in rows("select kind from alerts order by kind")] == PLANTED
    assert rows("select count(distinct alert_id), count(*) from alerts") == [(len(PLANTED), len(PLANTED))]


def one(rows: Rows, kind: str, columns: str) -> tuple[Any, ...]:
    return rows(f"select {columns} from alerts where kind = ?", [kind])[0]


def test_the_runaway_loop(rows: Rows) -> None:
    start, project, model, trace, calls = truth.LOOP
    events = [event for event in sample.Truth.make().events if event.trace_id == trace]
    found = one(rows, "call_loop", "team_id, project_id, model, subject, window_start, window_end, actual, severity, owner, evidence")
    assert found[:8] == ("assistant", project, model, trace, events[0].at, events[-1].at, calls, "critical")
    tokens = sum(event.input_total + event.output_total for event in events)
    assert found[8:] == (
        "assistant-leads@larkfield.example",
        f"{calls} calls within 60 minutes in {trace} of {project}, 0 failed, {tokens:,} tokens in {calls} calls from {start:%H:%M} to 02:55 UTC",
    )


def test_the_spike_is_one_alert_that_names_what_moved(rows: Rows) -> None:
    team, day, _ = truth.SPIKE
    found = one(rows, "daily_anomaly", "team_id, raised_on, project_id, model, cost_impact = actual - expected, cost_impact, also")
    assert found[:5] == (team, day, None, None, True)
    cost = rows("select sum(cost) from cost_daily where team_id = ? and usage_date = ? and category = 'direct' and not one_off", [team, day])[0][0]
    assert one(rows, "daily_anomaly", "actual") == (cost,) and found[5] > cost * 3 / 4
    assert "project support-copilot" in found[6] and "model claude-opus-4-1" in found[6] and "hours from" in found[6]


def test_the_idle_night(rows: Rows) -> None:
    start, end = truth.IDLE_NIGHT
    found = one(rows, "gpu_idle", "subject, window_start, window_end, raised_on, actual, team_id")
    assert found == ("serving", start, end, start.date(), 0, "platform")
    cost = rows("select sum(effective_cost) from charges where usage_date = ? and service = 'Amazon Elastic Compute Cloud'", [start.date()])[0][0]
    assert abs(one(rows, "gpu_idle", "cost_impact")[0] - cost * 4 / 24) < Decimal("0.01")  # four of the day's hours


def test_the_budget_breach(rows: Rows) -> None:
    found = one(rows, "budget", "subject, team_id, expected, owner, owner_mail, raised_on, actual")
    assert found[:5] == ("search", "search", Decimal(6500), "Head of Search", "search-leads@larkfield.example")
    spent = "select sum(cost) from cost_daily where team_id = 'search' and period = '2026-10' and usage_date <= ?::date - ?"
    before, on = (rows(spent, [found[5], n])[0][0] for n in (1, 0))
    assert before < 6500 <= on == found[6]


def test_the_cache_regression(rows: Rows) -> None:
    project, model, start, end = truth.CACHE_LOST
    found = one(rows, "cache_drop", "project_id, model, raised_on, expected, actual, cost_impact")
    assert found[:2] == (project, model) and start <= found[2] < end
    assert found[3] - found[4] >= 15 and found[5] > 0


def test_the_silent_source(rows: Rows) -> None:
    found = one(rows, "source_silent", "source, raised_on, window_start, expected, actual, state")
    assert found == ("vllm", date(2026, 10, 29), datetime(2026, 10, 20), 7, 10, "open")


@pytest.mark.parametrize("night", [date(2026, 10, 13), date(2026, 10, 23), date(2026, 10, 29)])
def test_a_day_is_judged_by_what_was_known_on_it(company: Home, rows: Rows, night: date) -> None:
    """The models as of an earlier night raise what the last night raises up to that day, word for word.

    Only a silence is taken back, when a late file tells of its days: these bills come for a whole month.
    """
    said_of = "select * exclude (state, note) from alerts where raised_on <= ? and source is distinct from 'google' order by raised_on, alert_id"
    con = warehouse.memory()
    con.execute(f"attach '{company.warehouse}' as warehouse (read_only)")
    con.execute("set search_path = 'memory.main,warehouse.main'")
    con.execute(asset("sql", "macros.sql").read_text())
    policy.register(con, policy.load(company.policy))
    needed = {"alerts"}
    for model in reversed(models.stage("insight")):
        needed |= model.reads if model.name in needed else set()
    for model in models.stage("insight"):
        if model.name in needed:
            models.make(con, model, {"through": night})
    said = con.execute(said_of, [night]).fetchall()
    con.close()
    assert said and said == rows(said_of, [night])


class Receiver(HTTPServer):
    """Takes JSON messages; answers 500 while `broken`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.broken = False
        self.taken: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.broken:
            self.server.taken.append(json.loads(content))
        self.send_response(500 if self.server.broken else 200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    pytest.importorskip("apprise")
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_alerts_are_sent_once_and_answered(company_copy: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    home = company_copy
    alerts = home.policy / "alerts.yaml"
    alerts.write_text(
        alerts.read_text()
        + "channels:\n  - {id: hook, url_from: HOOK_URL, actions: [chat, page], kinds: [call_loop, gpu_idle]}\n"
        + "  - {id: nowhere, url_from: NOWHERE_URL, actions: page, kinds: source_silent}\n"
    )
    monkeypatch.setenv("HOOK_URL", f"json://user:hook-password@127.0.0.1:{receiver.server_port}")
    run = CliRunner()

    receiver.broken = True
    first = run.invoke(app, ["nightly", "--home", str(home.root)])
    assert first.exit_code == 0 and receiver.taken == []
    assert "hook" in first.stderr and "NOWHERE_URL is not set" in first.stderr and "hook-password" not in first.output
    waits = {row["channel"]: row["alerts"] for row in status(home)["unsent"]}
    assert waits == {"hook": 2, "nowhere": 1} and "channel hook has 2 alerts to take" in status_text(status(home))

    receiver.broken = False
    state = require_manifest(home)["state"]
    assert jobs.nightly(home, DAY_2, quiet).changed  # nothing but what was sent
    ids = [row["alert_id"] for row in status(home)["alerts"] if row["kind"] in ("call_loop", "gpu_idle")]
    assert sorted(message["message"].split("alert_id: ")[1].split()[0] for message in receiver.taken) == sorted(ids)
    loop = next(message for message in receiver.taken if "call loop" in message["title"])
    assert loop["type"] == "failure" and loop["title"] == "[critical] call loop: assistant, 2026-10-13" and "260 calls within 60 minutes" in loop["message"]

    again = jobs.nightly(home, DAY_2, quiet)
    assert not again.changed and len(again.unsent) == 1 and len(receiver.taken) == 2
    assert require_manifest(home)["state"] != state

    said = run.invoke(app, ["alert", ids[0], "--explain", "a tool of the shop was down", "--actor", "Lead", "--home", str(home.root)])
    assert said.exit_code == 0, said.output
    found = {row["alert_id"]: row for row in status(home)["alerts"]}[ids[0]]
    assert (found["state"], found["note"], found["noted_by"]) == ("explained", "a tool of the shop was down", "Lead")
    assert "explained by Lead: a tool of the shop was down" in " ".join(status_text(status(home)).split()).replace("│ ", "").replace(" │", "")
    assert run.invoke(app, ["alert", ids[0], "--close", "--actor", "Lead", "--home", str(home.root)]).exit_code == 0
    assert ids[0] not in {row["alert_id"] for row in status(home)["alerts"]} and len(receiver.taken) == 2
    unknown = run.invoke(app, ["alert", "0123456789abcdef", "--close", "--home", str(home.root)])
    assert unknown.exit_code != 0 and "no alert 0123456789abcdef" in str(unknown.exception)
    assert run.invoke(app, ["alert", ids[0], "--home", str(home.root)]).exit_code == 2
