-- Calls that two gateways tell under one id: one stands before the other, or an export repeats what another source landed. Each is an
-- event of its own here, so that the team has twice its weight: one of the two sources has to go.
-- grain: usage_date, source, other_source
--   source, other_source: the two, in the order of their names
--   calls: ids that both tell on the day
--   contracted_cost: what the second source's calls should have cost; NULL where none has a price
with twice as (
    select usage_date, event_id, min(source) as source, max(source) as other_source
    from usage_events
    group by all
    having min(source) <> max(source)
)
select
    t.usage_date, t.source, t.other_source, count(distinct t.event_id) as calls, sum(e.contracted_cost)::decimal(38, 12) as contracted_cost
from twice t
join usage_events e on e.usage_date = t.usage_date and e.event_id = t.event_id and e.source = t.other_source
group by all
