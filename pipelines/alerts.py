"""What people said about alerts, and what was sent: kept in the books, and shown beside what the data say."""

from __future__ import annotations

from datetime import date
from typing import Any

import duckdb

from pipelines.books import Entry
from pipelines.errors import Refused
from pipelines.run import Run

STATES = {"alert_explained": "explained", "alert_closed": "closed"}  # entry of the books -> what it makes of the alert
KINDS = {state: kind for kind, state in STATES.items()}


def remember(run: Run) -> None:
    """alert_notes and alerts_sent, as the books tell them: the last word on each alert, and each delivery."""
    notes: dict[str, tuple[Any, ...]] = {}
    sent: list[tuple[Any, ...]] = []
    for entry in run.books.entries:
        facts = entry.facts
        if entry.kind in STATES:
            notes[facts["alert_id"]] = (facts["alert_id"], STATES[entry.kind], facts["note"], facts["actor"])
        elif entry.kind == "alerts_sent":
            sent += [(alert_id, facts["channel"], date.fromisoformat(facts["night"])) for alert_id in facts["alert_ids"]]
    _table(run, "alert_notes", "alert_id varchar, state varchar, note varchar, actor varchar", list(notes.values()))
    _table(run, "alerts_sent", "alert_id varchar, channel varchar, night date", sent)


def _table(run: Run, name: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    run.con.execute(f"create or replace table warehouse.main.{name}({columns})")
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        run.con.executemany(f"insert into {name} values ({marks})", rows)


def answer(run: Run, alert_id: str, state: str, note: str | None, actor: str, published: duckdb.DuckDBPyConnection) -> Entry:
    """Writes that an alert is explained or closed into the books; `Refused` where the last night published none with this id."""
    if not published.execute("select 1 from alerts where alert_id = ?", [alert_id]).fetchall():
        raise Refused(f"no alert {alert_id}", "apportion alert", "apportion status shows the open ones, the table alerts all of them")
    return run.books.append(KINDS[state], {"alert_id": alert_id, "note": note, "actor": actor, "night": run.through})
