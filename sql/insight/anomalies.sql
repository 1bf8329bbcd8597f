-- Days that cost far more or far less than usual, of teams, projects and models: a robust z-score, a percentage and an amount, all of alerts.yaml.
-- The score is the distance from the median, over 1.4826 times the spread of the days before (at least the amount over the score). With less
-- than 14 days known the percentage and the amount alone decide; a team's first 14 days are left out. A drop is told once every
-- source has come past its day. What a larger one already tells is part of it: of a team's day its projects; of a model's what those teams moved.
-- grain: scope, scope_id, owner_team, usage_date
--   scope: team, project or model
--   scope_id: the team, project or model
--   owner_team: whose it is; NULL for a model
--   direction: rise or drop
--   cost: of the day, direct and recurring, in the company's currency
--   expected: what was usual
--   cost_impact: cost less expected; negative for a drop
--   score: distance from what was usual in spreads, to two decimals; NULL with less than 14 days known
--   part_of: the team whose anomaly tells it already; NULL where it stands on its own
with complete as (
    select min(last_day) as until
    from (
        select f.kind, f.source, max(f.last_day) as last_day
        from source_files f
        join policy_sources s on s.kind = f.kind and s.source = f.source and not s.is_evidence
        where f.state = 'landed' and f.kind in ('gateway', 'billing', 'gpu') and f.last_day is not null and f.last_day > $through::date - 62
        group by all
    )
),
measured as (
    select
        l.*, r.percent, pico(r.amount) as floor, (r.score * 100)::hugeint as score100,
        pico(l.cost) as units, pico(l.expected) as usual, pico(l.cost) - pico(l.expected) as excess,
        greatest(pico(l.spread) * 14826 // 10000, pico(r.amount) * 100 // (r.score * 100)::hugeint, 1)::hugeint as scale
    from cost_levels l
    join policy_alert_rules r on r.kind = 'daily_anomaly'
    where l.expected is not null and l.team_days >= 14 and l.usage_date > $through::date - 124
),
flagged as (
    select *, if(excess > 0, 'rise', 'drop') as direction
    from measured
    where abs(excess) >= floor and abs(excess) > 0 and abs(excess) * 10000 >= abs(usual) * (percent * 100)::hugeint
        and (known_days < 14 or abs(excess) * 100 > score100 * scale)
        and (excess > 0 or usage_date <= (select until from complete))
        and not exists (from policy_alert_exceptions x where x.kind = 'daily_anomaly' and x.name in (scope_id, team_id))
),
teams as (
    select team_id, usage_date, direction from flagged where scope = 'team'
),
-- What the flagged teams moved of each model.
moved as (
    select l.scope_id as model, l.usage_date, t.direction, sum(pico(l.cost) - pico(l.expected))::hugeint as units,
        arg_max(l.team_id, abs(pico(l.cost) - pico(l.expected))) as team_id
    from cost_levels l
    join teams t on t.team_id = l.team_id and t.usage_date = l.usage_date
    where l.scope = 'model_of_team' and l.expected is not null
    group by all
)
select
    f.scope, f.scope_id, f.team_id as owner_team, f.usage_date, f.direction, f.cost, f.expected, money(f.excess) as cost_impact,
    case when f.known_days >= 14 then (f.excess * 100 // f.scale)::decimal(18, 0) * 0.01::decimal(3, 2) end::decimal(18, 2) as score,
    case f.scope when 'project' then t.team_id when 'model' then m.team_id end as part_of
from flagged f
left join teams t on f.scope = 'project' and t.team_id = f.team_id and t.usage_date = f.usage_date and t.direction = f.direction
left join moved m on f.scope = 'model' and m.model = f.scope_id and m.usage_date = f.usage_date and m.direction = f.direction
    and abs(m.units) * 2 >= abs(f.excess) and sign(m.units) = sign(f.excess)
where f.scope in ('team', 'project', 'model')
