-- What each day cost, beside what was usual: the median of the same kind of day (working day or weekend) in the 28 days before.
-- Cost that a team caused itself and that comes again: direct, without what is one-off. A day without cost counts as a day of nothing.
-- grain: scope, scope_id, team_id, usage_date
--   scope: team, project, application, model, or model_of_team
--   scope_id: the team, project, application or model
--   team_id: whose it is; NULL for a model
--   cost: of the day, in the company's currency
--   expected: lower median of the same kind of days before; NULL where there is none
--   spread: median distance of these days from their median
--   known_days: days before this one since its first cost, at most 28
--   team_days: the same of its team; of a model, of the company
with direct as (
    select usage_date, team_id, project_id, application, model, sum(pico(cost))::hugeint as units
    from cost_daily
    where category = 'direct' and not one_off and usage_date <= $through and usage_date > $through::date - 186
    group by all
),
parts as (
    select 'team' as scope, team_id as scope_id, team_id, usage_date, units from direct where team_id <> 'unallocated'
    union all by name
    select 'project' as scope, project_id as scope_id, team_id, usage_date, units from direct where project_id is not null and team_id <> 'unallocated'
    union all by name
    select 'application' as scope, application as scope_id, team_id, usage_date, units from direct where application is not null and team_id <> 'unallocated'
    union all by name
    select 'model' as scope, model as scope_id, null as team_id, usage_date, units from direct where model is not null
    union all by name
    select 'model_of_team' as scope, model as scope_id, team_id, usage_date, units from direct where model is not null and team_id <> 'unallocated'
),
daily as (
    select scope, scope_id, team_id, usage_date, sum(units)::hugeint as units from parts group by all
),
spans as (
    select scope, scope_id, team_id, min(usage_date) as first_day from daily group by all
),
begun as (
    select team_id, min(usage_date) as first_day from direct group by all
    union all
    select null as team_id, min(usage_date) as first_day from direct
),
days as (
    select s.*, t.day::date as usage_date, dayofweek(t.day) in (0, 6) as is_weekend
    from spans s
    cross join lateral (select unnest(generate_series(s.first_day::timestamp, $through::timestamp, interval 1 day)) as day) t
),
filled as (
    select d.*, coalesce(u.units, 0)::hugeint as units
    from days d
    left join daily u on u.scope = d.scope and u.scope_id = d.scope_id and u.team_id is not distinct from d.team_id and u.usage_date = d.usage_date
),
before as (
    select
        *,
        list_sort(list(units) over (
            partition by scope, scope_id, team_id, is_weekend order by usage_date
            range between interval 28 day preceding and interval 1 day preceding)) as usual
    from filled
),
expected as (
    select *, usual[(len(usual) + 1) // 2] as middle from before
)
select
    e.scope, e.scope_id, e.team_id, e.usage_date, money(e.units) as cost, money(e.middle) as expected,
    money(list_sort(list_transform(e.usual, lambda u: abs(u - e.middle)))[(len(e.usual) + 1) // 2]) as spread,
    least(e.usage_date - e.first_day, 28)::bigint as known_days,
    least(e.usage_date - b.first_day, 28)::bigint as team_days
from expected e
left join begun b on b.team_id is not distinct from e.team_id
