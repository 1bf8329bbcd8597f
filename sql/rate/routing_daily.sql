-- Why gateways chose a model, and how good its answers were, by day: only calls that say one of the two.
-- grain: usage_date, team_id, project_id, application, provider, model, routing_reason
--   routing_reason: why the gateway chose this model; NULL where it does not say
--   failures: calls that failed
--   quality_sum: scores that the application gave the answers, added up
--   quality_events: answers with a score
--   contracted_cost: what the calls should have cost at our prices
select
    usage_date, team_id, project_id, application, provider, model, routing_reason[:80] as routing_reason,
    count(*) as events,
    sum(requests)::bigint as requests,
    count(*) filter (status = 'failure') as failures,
    sum(quality_score)::decimal(38, 6) as quality_sum,
    count(quality_score) as quality_events,
    sum(contracted_cost)::decimal(38, 12) as contracted_cost
from usage_events
where routing_reason is not null or quality_score is not null
group by all
