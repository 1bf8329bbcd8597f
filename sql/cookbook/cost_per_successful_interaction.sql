-- What does one successful request cost, feature by feature? Failed and retried requests stay in the cost.
with traffic as (
    select
        p.period, u.team_id, u.application,
        sum(u.requests) filter (u.status = 'success') as successes,
        sum(u.requests) as requests
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    group by all
),
cost as (
    select original_period as period, team_id, application, sum(effective_cost) as cost
    from ledger
    where activity in ('inference', 'embedding')
    group by all
)
select
    c.period, c.team_id, c.application, t.requests, t.successes,
    c.cost::decimal(18, 2) as cost,
    case when t.successes > 0 then round(c.cost::double / t.successes, 4) end as cost_per_success
from cost c
left join traffic t on t.period = c.period and t.team_id = c.team_id and t.application is not distinct from c.application
where c.application is not null
order by cost desc;
