"""The workbooks that finance downloads: one per team, one for the company."""

from __future__ import annotations

import duckdb

from pipelines.render.company import Company
from pipelines.render.team import Team


def team(con: duckdb.DuckDBPyConnection, *, period: str, version: int, team_id: str) -> bytes:
    """The .xlsx of one team, month and version. The same tables give the same bytes."""
    return Team(con, period, version, team_id).workbook()


def company(con: duckdb.DuckDBPyConnection, *, period: str, version: int) -> bytes:
    """The .xlsx of the whole company, for finance."""
    return Company(con, period, version).workbook()
