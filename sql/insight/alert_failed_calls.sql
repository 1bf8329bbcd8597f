-- Days on which a project's calls failed often: so many, and such a share of all.
-- grain: team_id, project_id, application, raised_on
--   failures: calls that failed
--   calls: calls of the day
--   cost_impact: what the failed ones should have cost; most failures cost nothing. NULL where one that used tokens has no price
select
    u.team_id, u.project_id, u.application, u.usage_date as raised_on,
    sum(u.events) filter (u.status = 'failure')::bigint as failures,
    sum(u.events)::bigint as calls,
    case when coalesce(sum(u.unpriced_events) filter (u.status = 'failure'), 0) = 0 then coalesce(sum(u.contracted_cost) filter (u.status = 'failure'), 0) end::decimal(38, 12)
        as cost_impact
from usage_daily u
join policy_alert_rules r on r.kind = 'failed_calls'
where u.usage_date <= $through and u.usage_date > $through::date - 62
group by u.team_id, u.project_id, u.application, u.usage_date, r.calls, r.percent
having sum(u.events) filter (u.status = 'failure') >= r.calls
    and sum(u.events) filter (u.status = 'failure') * 100 >= sum(u.events) * r.percent
