-- Outcomes and cost of each declared unit by month: what unit_economics divides. An outcome counts for a unit of its metric when it names
-- one of the unit's teams, projects or applications, and none that the unit does not have; a unit without any counts them all.
-- grain: unit_id, period
--   unit_id: the unit, as budgets.yaml declares it
--   is_whole: whether the month is over
--   quantity: outcomes; NULL where none were landed
--   value: what they were worth; NULL where nobody says
--   alternative_cost: what the same would have cost without AI: a declared cost of each, or a landed metric; NULL where neither is known
--   cost: charged to the unit's teams, projects, applications, environments and pools up to the as-of day
--   currency: the company's currency
--   quality_sum: scores that the application gave the answers, added up
--   quality_events: answers with a score
with scopes as (
    select unit_id, field, list(value) as allowed from policy_unit_scope group by all
),
months as (
    select u.*, p.period, p.starts_on, p.ends_on, p.ends_on <= $through::date + 1 as is_whole
    from policy_units u
    join periods p on p.starts_on < u.valid_to and p.ends_on > u.valid_from
),
-- One row for each distinct thing that a row can say of itself, with what of it the unit asks for.
told as (
    select distinct team_id, project_id, application from outcomes
),
counted_for as (
    select
        u.unit_id, t.team_id, t.project_id, t.application,
        count(s.field) as fields,
        count(*) filter (s.said is not null and list_contains(s.allowed, s.said)) as agreed,
        count(*) filter (s.said is not null and not list_contains(s.allowed, s.said)) as denied
    from policy_units u
    cross join told t
    left join lateral (
        select field, allowed, case field when 'team' then nullif(t.team_id, '*') when 'project' then t.project_id else t.application end as said
        from scopes x
        where x.unit_id = u.unit_id and x.field in ('team', 'project', 'application')
    ) s on true
    group by all
    having fields = 0 or (agreed > 0 and denied = 0)
),
counts as (
    select
        m.unit_id, m.period,
        sum(o.quantity) filter (o.metric = m.metric) as quantity,
        sum(o.value) filter (o.metric = m.metric) as value,
        sum(o.quantity) filter (o.metric = m.alternative_metric) as alternative
    from months m
    join counted_for f on f.unit_id = m.unit_id
    join outcomes o on o.period = m.period and o.team_id = f.team_id and o.project_id is not distinct from f.project_id
        and o.application is not distinct from f.application and o.metric in (m.metric, m.alternative_metric)
    group by all
),
kept as (
    select k.*, u.unit_id
    from (select distinct team_id, project_id, application, environment, cost_pool from cost_daily) k
    cross join policy_units u
    where not exists (
        from scopes s
        where s.unit_id = u.unit_id
            and not coalesce(list_contains(s.allowed, case s.field when 'team' then k.team_id when 'project' then k.project_id
                when 'application' then k.application when 'environment' then k.environment else k.cost_pool end), false))
),
costs as (
    select m.unit_id, m.period, sum(c.cost) as cost
    from months m
    join kept k on k.unit_id = m.unit_id
    join cost_daily c on c.usage_date >= m.starts_on and c.usage_date < m.ends_on and c.usage_date <= $through
        and c.team_id = k.team_id and c.project_id is not distinct from k.project_id and c.application is not distinct from k.application
        and c.environment is not distinct from k.environment and c.cost_pool is not distinct from k.cost_pool
    group by all
),
scores as (
    select m.unit_id, m.period, sum(r.quality_sum) as quality_sum, sum(r.quality_events) as quality_events
    from months m
    join routing_daily r on r.usage_date >= m.starts_on and r.usage_date < m.ends_on and r.usage_date <= $through
    where not exists (
        from scopes s
        where s.unit_id = m.unit_id and s.field in ('team', 'project', 'application')
            and not coalesce(list_contains(s.allowed, case s.field when 'team' then r.team_id when 'project' then r.project_id else r.application end), false))
    group by all
)
select
    m.unit_id, m.period, m.is_whole, b.currency,
    n.quantity::decimal(38, 12) as quantity, n.value::decimal(38, 12) as value,
    case when m.alternative is not null then money(exchanged(m.alternative, n.quantity)) else n.alternative end::decimal(38, 12) as alternative_cost,
    coalesce(c.cost, 0)::decimal(38, 12) as cost,
    q.quality_sum::decimal(38, 6) as quality_sum, coalesce(q.quality_events, 0)::bigint as quality_events
from months m
cross join policy_company b
left join counts n on n.unit_id = m.unit_id and n.period = m.period
left join costs c on c.unit_id = m.unit_id and c.period = m.period
left join scores q on q.unit_id = m.unit_id and q.period = m.period
where n.quantity is not null or c.cost is not null
