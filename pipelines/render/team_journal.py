"""The sheet of a team's workbook that says what finance posts of its statement."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.render import words
from pipelines.render.book import DAY, MONEY, NOTE, Column, Look
from pipelines.render.figures import ZERO

if TYPE_CHECKING:
    from pipelines.render.team import Team

_MONEY = Look(MONEY, align="right")


def sheet(team: Team, title: str) -> None:
    """Every entry with its lines; debits and credits of an entry are equal in each company's books. No journal, no sheet."""
    if not team.posted:
        return
    columns = [
        Column("Entry", 19), Column("Line", 6, Look("0_)", size=9, color=NOTE.color)), Column("Posting date", 13, Look(DAY, align="left", indent=1)),
        Column("Legal entity", 13), Column("Kind", 15), Column("Side", 15), Column("GL account", 13), Column("Cost center", 13),
        Column("Debit", 15, replace(_MONEY, bold=True)), Column("Credit", 15, replace(_MONEY, bold=True)), Column("Currency", 9, Look(indent=1)),
        Column("Memo", 46, Look(size=9, color=NOTE.color, wrap=True)),
    ]  # fmt: skip
    ws = team.book.sheet(title, "What is posted" if team.scope["version"] else "What would be posted", [c.width for c in columns])
    ws.freeze_panes, ws.print_title_rows = "B5", "1:4"
    team.book.header(ws, 4, columns)
    row = 5
    for line in team.posted:
        team.book.line(ws, row, columns, [
            line["je_id"], line["line_no"], line["posting_date"], line["legal_entity"], words.plain(line["kind"]), words.plain(line["role"]),
            line["gl_account"] or "none", line["cost_center"], line["debit"], line["credit"], line["currency"], line["line_memo"],
        ])  # fmt: skip
        row += 1
    team.journal_rows = f"5:{row - 1}"
    sums = [(f"SUM({letter}5:{letter}{row - 1})", sum((line[side] for line in team.posted), ZERO)) for letter, side in (("J", "debit"), ("K", "credit"))]
    team.book.total(ws, row, columns, ["All entries", *[None] * 7, *sums, None, None])
    text = (
        "Expense is booked where the cost was used, recovery relieves the platform that bought. An accrual stands for cost without a final bill and is"
        " reversed on the first day of the next month. A later version posts only what changed."
    )
    words.paragraph(team.book, ws, row + 2, 2, len(columns) + 1, text, sum(c.width for c in columns), NOTE)
    team.book.one_page(ws, row)
