"""What people of the sample company decide between its nights: a small dispute of the closed month."""

from __future__ import annotations

from decimal import Decimal

import duckdb

from pipelines import close, review
from pipelines.home import Home
from pipelines.jobs import last_night
from pipelines.run import Say, open_run

SERVICE, MODEL = "OpenAI API", "gpt-5"


def dispute(home: Home, label: str, say: Say) -> None:
    """A team says that a part of its calls was another team's; finance finds them on its own key. No amount moves.

    Nothing is computed here: both decisions are entries of the books over what is published, and the night that follows shows them.
    """
    with open_run(home, last_night(home), say) as run, duckdb.connect(str(home.current), read_only=True) as published:
        lines = [
            number
            for (number,) in published.execute(
                "select line_no from statement_lines where period = $period and version > 0 and team_id = 'search' and category = 'direct'"
                " and service = $service and model = $model and amount > 50",
                {"period": label, "service": SERVICE, "model": MODEL},
            ).fetchall()
        ]
        if not lines:  # a company with less traffic has nothing to dispute
            return
        text = "The first evaluation of gpt-5 was ordered by Shopping Assistant"
        opened = review.dispute(run, close.period_of(run, label), "search", lines, Decimal("48.50"), "wrong_team", text, "search lead", published)
        review.resolve(run, opened.facts["dispute_id"], "rejected", None, "The calls were made with the key of search-eval", "finance", published)
