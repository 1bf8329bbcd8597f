-- Traffic by hour, for spikes and off-peak questions.
-- grain: usage_hour, provider, model, team_id, project_id, operation
select
    date_trunc('hour', occurred_at) as usage_hour,
    usage_date,
    provider, model, team_id, project_id, operation,
    count(*) as events,
    sum(requests)::bigint as requests,
    count(*) filter (status = 'failure') as failures,
    sum(input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens)::bigint as input_tokens,
    sum(output_tokens + reasoning_tokens)::bigint as output_tokens,
    sum(contracted_cost)::decimal(38, 12) as contracted_cost
from usage_events
group by all
