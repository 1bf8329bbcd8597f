-- Who prepared, reviewed and approved which version of a month, and whether it still counts: an approval is of the figures it
-- saw, and ends with them.
-- grain: number
--   number: number of the entry in data/books; NULL for what the night prepared
--   version: the version that was approved; for a month that is not closed the one it will be closed as
--   step: prepare, review or approve
--   through: day as of which the figures were published
--   figures: hash of the figures that were seen
--   actor: who took the step
--   counts: whether these are the figures of the version now
with standing as (
    select f.period, case when f.version = 0 then p.version + 1 else f.version end::integer as version, f.figures, f.version = 0 as is_draft
    from figures f
    join periods p on p.period = f.period
)
select
    null::integer as number, s.period, s.version, 'prepare' as step, 'the night' as actor,
    coalesce(v.closed_on, $through::date) as through, s.figures, true as counts
from standing s
left join closed_versions v on v.period = s.period and v.version = s.version
union all by name
select e.number, e.period, e.version, e.step, e.actor, e.through, e.figures, coalesce(e.figures = s.figures, false) as counts
from approval_entries e
left join standing s on s.period = e.period and s.version = e.version
