-- What an approval names: a hash over the lines of all statements of a period and version. The draft of a month and the
-- version that it is closed as have the same one.
-- grain: period, version
--   figures: SHA-256 over team, cost center, line and amount of every line
select
    period, version, count(*) as lines,
    sha256(string_agg(concat_ws('|', team_id, coalesce(cost_center, ''), legal_entity, line_id, amount, currency), chr(10) order by team_id, line_id)) as figures
from statement_lines
group by all
