"""A company that does not exist: one seeded truth, written in the formats of its vendors.

truth = Truth.make(seed=20260901, scale=1.0)      who used what, when, at which price
install(home); write(home, through=date(2026, 10, 5))
expected.*                                        what a pipeline must find again, from the truth alone
"""

from __future__ import annotations

from pipelines.sample.company import CANARY
from pipelines.sample.landing import install, policy_files, write
from pipelines.sample.truth import Truth

__all__ = ["CANARY", "Truth", "install", "policy_files", "write"]
