"""What a vendor's own words for a meter of tokens say: the model, our meter and the service tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import duckdb


class Meaning(NamedTuple):
    """`model` and `meter` are None where the words do not tell; `tier` is batch, flex, priority ... or None."""

    model: str | None
    meter: str | None
    tier: str | None


def register(con: duckdb.DuckDBPyConnection, keys: Sequence[str], told: Mapping[tuple[str | None, ...], Meaning | None]) -> None:
    """Temp table `meanings` of the `keys` and told_model, told_meter, told_tier; words that say nothing are left out."""
    columns = [*keys, *(f"told_{name}" for name in Meaning._fields)]
    rows = [(*key, *meaning) for key, meaning in told.items() if meaning is not None]
    values = {column: [row[n] for row in rows] for n, column in enumerate(columns)}
    texts = ", ".join(f"unnest(${column})::varchar as {column}" for column in columns)
    con.execute(f"create or replace temp table meanings as select {texts}", values)
