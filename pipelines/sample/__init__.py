"""A company that does not exist: one seeded truth, written in the formats of its vendors.

truth = Truth.make(seed=20260901, scale=1.0)      who used what, when, at which price
install(home); write(home, through=date(2026, 10, 5))
expected.*                                        what a pipeline must find again, from the truth alone
"""

from __future__ import annotations

from datetime import date

from pipelines.sample.company import CANARY
from pipelines.sample.landing import install, policy_files, write
from pipelines.sample.truth import Truth

# The demonstration: the nights that are run, and the month that finance closes after each.
NIGHTS = ((date(2026, 10, 5), "2026-09"), (date(2026, 10, 31), None))

__all__ = ["CANARY", "NIGHTS", "Truth", "install", "policy_files", "write"]
