-- Chains of models by day: traces of two calls or more, by the models they went through in order. Models that follow themselves are one
-- step; a trace that fell back, escalated or called a second model for the rest shows as one chain with its cost.
-- grain: usage_date, team_id, application, chain
--   team_id: the team that pays for the trace's first call
--   chain: models in the order of their first calls, joined by ` > `; of more than eight steps the first eight and ` ...`
--   steps: models in the chain, one that comes again counted again
--   traces: traces that went this way
--   calls: calls of these traces
--   failures: calls that failed
--   tokens: input and output of these calls
--   contracted_cost: what these calls should have cost at our prices
with several as (
    select trace_id
    from usage_events
    where trace_id is not null and model is not null and gateway_cache = 'none'
    group by trace_id
    having count(*) > 1
),
calls as (
    select
        e.usage_date, e.trace_id, e.team_id, e.application, e.model, e.status, e.contracted_cost,
        e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens + e.output_tokens + e.reasoning_tokens as tokens,
        row_number() over trace as place, e.model is distinct from lag(e.model) over trace as is_step
    from usage_events e
    semi join several s on s.trace_id = e.trace_id
    where e.model is not null and e.gateway_cache = 'none'
    window trace as (partition by e.usage_date, e.trace_id order by e.occurred_at, e.attempt, e.source, e.event_id)
),
traces as (
    select
        usage_date, trace_id, arg_min(team_id, place) as team_id, arg_min(application, place) as application,
        list(model order by place) filter (is_step) as models, count(*) as calls, count(*) filter (status = 'failure') as failures,
        sum(tokens) as tokens, sum(contracted_cost) as contracted_cost
    from calls
    group by all
    having count(*) > 1
)
select
    usage_date, team_id, application,
    array_to_string(models[:8], ' > ') || case when len(models) > 8 then ' > ...' else '' end as chain,
    len(models)::bigint as steps, count(*) as traces, sum(calls)::bigint as calls, sum(failures)::bigint as failures, sum(tokens)::bigint as tokens,
    sum(contracted_cost)::decimal(38, 12) as contracted_cost
from traces
group by all
