"""What the business counted in a month: `period, application, metric, quantity, unit`."""

from __future__ import annotations

from collections.abc import Iterable

HEADER = "period,application,metric,quantity,unit"
MONEY = ("human_cost", "revenue")


def write(month: str, counts: Iterable[tuple[str, str, int]]) -> bytes:
    rows = [f"{month},{application},{metric},{quantity},{'USD' if metric in MONEY else metric}" for application, metric, quantity in counts]
    return ("\n".join([HEADER, *rows]) + "\n").encode()
