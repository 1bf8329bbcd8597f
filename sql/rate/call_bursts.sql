-- Traces and sessions with many calls in a short time: agents that call their tools in a loop, clients that try again and again.
-- grain: usage_date, source, trace
--   trace: the trace, or the session where a call names no trace
--   calls: calls of the day
--   most_calls: most calls within the minutes that the policy names; a stretch across midnight counts as two, one on each day
--   failures: calls of the day that failed
--   most_attempts: highest attempt that a call names
--   first_at: first call of the day
--   peak_at: the call that ends the busiest stretch
--   last_at: last call of the day
--   tokens: tokens of the day, in and out
--   contracted_cost: what the calls should have cost; NULL where none has a price
with traced as (
    select
        usage_date, source, coalesce(trace_id, session_id) as trace, occurred_at, team_id, project_id, application, model, status, attempt,
        contracted_cost,
        input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens + reasoning_tokens as tokens
    from usage_events
    where coalesce(trace_id, session_id) is not null
),
busy as (
    select usage_date, source, trace from traced group by all having count(*) >= $loop_calls
),
counted as (
    select
        t.*,
        count(*) over (
            partition by t.usage_date, t.source, t.trace order by t.occurred_at
            range between to_minutes($loop_minutes) preceding and current row) as calls_within
    from traced t
    semi join busy b on b.usage_date = t.usage_date and b.source = t.source and b.trace = t.trace
)
select
    usage_date, source, trace,
    min(team_id) as team_id, min(project_id) as project_id, min(application) as application, min(model) as model,
    count(*) as calls,
    max(calls_within)::bigint as most_calls,
    count(*) filter (status = 'failure') as failures,
    max(attempt) as most_attempts,
    min(occurred_at) as first_at,
    min(occurred_at) filter (calls_within = peak) as peak_at,
    max(occurred_at) as last_at,
    sum(tokens)::bigint as tokens,
    sum(contracted_cost)::decimal(38, 12) as contracted_cost
from (select *, max(calls_within) over (partition by usage_date, source, trace) as peak from counted)
where peak >= $loop_calls
group by all
