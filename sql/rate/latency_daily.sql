-- How long calls of models took, by day: exact percentiles of the calls that a model answered, in milliseconds. Percentiles of days or
-- teams are never averaged; calls without a latency are not counted.
-- grain: usage_date, team_id, project_id, application, provider, model
--   timed_calls: calls with a latency
--   latency_p50_ms: half of them took no longer
--   latency_p95_ms: 95 of 100 took no longer
--   latency_max_ms: the longest
--   contracted_cost: what these calls should have cost at our prices
with timed as (
    select
        usage_date, team_id, project_id, application, provider, model,
        count(*) as timed_calls, quantile_disc(latency_ms, [0.5, 0.95]) as latencies, max(latency_ms) as longest, sum(contracted_cost) as cost
    from usage_events
    where latency_ms is not null and model is not null and gateway_cache = 'none'
    group by all
)
select
    usage_date, team_id, project_id, application, provider, model, timed_calls,
    latencies[1]::bigint as latency_p50_ms, latencies[2]::bigint as latency_p95_ms, longest::bigint as latency_max_ms,
    cost::decimal(38, 12) as contracted_cost
from timed
