"""The files that leave the house: per team a workbook and its page, for finance the workbook of the company."""

from __future__ import annotations

import duckdb

from pipelines.render import figures, names, page
from pipelines.render.company import Company
from pipelines.render.team import Team


def team(con: duckdb.DuckDBPyConnection, *, period: str, version: int, team_id: str) -> bytes:
    """The .xlsx of one team, month and version. The same tables give the same bytes."""
    return Team(con, period, version, team_id).workbook()


def files(con: duckdb.DuckDBPyConnection, *, period: str, version: int, team_id: str, limit: int = figures.DETAIL_LIMIT) -> dict[str, bytes]:
    """Everything one team receives, by file name: the workbook, the page, and every row as Parquet where the workbook had to sum them."""
    made = Team(con, period, version, team_id, limit)
    name = names.workbook_name(period, version, team_id)
    whole = None if made.detail.is_whole else name.replace(".xlsx", "-detail.parquet")
    found = {name: made.workbook(whole), name.replace(".xlsx", ".html"): page.html_of(made, name, whole).encode("utf-8")}
    if whole:
        found[whole] = figures.full_detail(con)
    return found


def company(con: duckdb.DuckDBPyConnection, *, period: str, version: int) -> bytes:
    """The .xlsx of the whole company, for finance."""
    return Company(con, period, version).workbook()
