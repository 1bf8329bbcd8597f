"""What the readers of GPU usage share about cards: how many compute slices a MIG profile takes, and how many a card has."""

from __future__ import annotations

import duckdb

from pipelines.warehouse import define

# mig_slices      compute slices of a profile: 3g.20gb -> 3; NULL where the text is no profile
# slices_of_card  compute slices of the whole card, by model as Koku counts them; where the model is not told, by profile
MACROS = r"""
create or replace temp macro mig_slices(profile) as try_cast(nullif(regexp_extract(profile, '(\d+)g\.', 1), '') as integer);
create or replace temp macro slices_of_card(model, profile) as case
    when regexp_matches(model, 'A30\b|RTX.PRO.6000') then 4
    when regexp_matches(model, 'RTX.PRO.5000') then 2
    when model is null and regexp_matches(profile, '\b(1g\.6gb|2g\.12gb|4g\.24gb)') then 4
    else 7 end;
"""


def macros(con: duckdb.DuckDBPyConnection) -> None:
    define(con, MACROS)
