"""Sends alerts to the channels of alerts.yaml: mail, chat, a web hook, whatever Apprise knows.

At least once: what a channel took is written into the books after it took it. A message carries the alert's id, which is always
the same, so that a receiver knows one that comes twice. A channel that fails keeps its alerts until the next night and never stops one.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from pipelines import alerts, models, policy
from pipelines.errors import Refused
from pipelines.policy.insight import Channel
from pipelines.run import Run

TYPES = {"critical": "failure", "warning": "warning", "info": "info"}  # severity -> what Apprise colours it by
AGAIN = "its alerts wait for the next night"


def waiting(run: Run) -> bool:
    """Whether the last night left something to send."""
    there = run.con.execute("select 1 from duckdb_tables() where table_name = 'alert_deliveries' and database_name = 'warehouse'").fetchall()
    return bool(there) and bool(run.con.execute("select 1 from alert_deliveries where sent_on is null limit 1").fetchall())


def deliver(run: Run) -> list[Refused]:
    """Sends what waits in `alert_deliveries`, and brings that table up to date; returns a reason for each channel that failed."""
    failed: list[Refused] = []
    before = len(run.books.entries)
    for channel in run.policy.alerts.channels:
        rows = _rows(run, channel.id)
        if rows:
            run.say(f"send {len(rows)} alerts to {channel.id}")
            sent, reason = _send(channel, rows)
            if sent:
                run.books.append("alerts_sent", {"channel": channel.id, "night": run.through, "alert_ids": sent})
            if reason:
                failed.append(Refused(reason, f"channel {channel.id} of alerts.yaml", AGAIN))
    if len(run.books.entries) > before:
        policy.register(run.con, run.policy)
        alerts.remember(run)
        models.replace_all(run.con, next(m for m in models.stage("insight") if m.name == "alert_deliveries"), {"through": run.through})
    return failed


def _rows(run: Run, channel: str) -> list[dict[str, Any]]:
    cursor = run.con.execute(
        """
        select a.alert_id, a.kind, a.severity, a.team_id, a.owner, a.raised_on, a.evidence, a.also, a.cost_impact::decimal(38, 2) as cost_impact,
            a.currency, d.recipient
        from alert_deliveries d
        join alerts a on a.alert_id = d.alert_id
        where d.channel = ? and d.sent_on is null
        order by a.raised_on, a.alert_id
        """,
        [channel],
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _send(channel: Channel, rows: list[dict[str, Any]]) -> tuple[list[str], str | None]:
    """The ids that the channel took, and why it took no more. The URL holds a password: it is in no reason and no log."""
    url = os.environ.get(channel.url_from)
    if not url:
        return [], f"the environment variable {channel.url_from} is not set"
    try:
        import apprise
    except ModuleNotFoundError:
        return [], "nothing to send with; pip install 'apportion[notify]'"
    logging.getLogger("apprise").disabled = True  # it names addresses
    sent: list[str] = []
    for row in rows:
        target = apprise.Apprise()
        if not target.add(_addressed(url, row["recipient"])):
            return sent, f"{channel.url_from} holds no address that Apprise can read"
        if not target.notify(title=title(row), body=body(row), notify_type=apprise.NotifyType(TYPES[row["severity"]])):
            return sent, "it did not take the message"
        sent.append(row["alert_id"])
    return sent, None


def _addressed(url: str, recipient: str | None) -> str:
    """The channel's URL, to this recipient instead of the one it names."""
    from urllib.parse import quote

    return url if recipient is None else f"{url}{'&' if '?' in url else '?'}to={quote(recipient)}"


def title(row: dict[str, Any]) -> str:
    return f"[{row['severity']}] {row['kind'].replace('_', ' ')}: {row['team_id']}, {row['raised_on']}"


def body(row: dict[str, Any]) -> str:
    lines = [f"{row['evidence']}."]
    if row["also"]:
        lines.append(f"The same: {row['also']}.")
    if row["cost_impact"] is not None:
        lines.append(f"Cost impact: {row['cost_impact']} {row['currency']}")
    if row["owner"]:
        lines.append(f"Owner: {row['owner']}")
    lines += [f"alert_id: {row['alert_id']}", f"Answer: apportion alert {row['alert_id']} --explain TEXT --actor NAME"]
    return "\n".join(lines)
