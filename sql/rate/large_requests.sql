-- Single requests with more tokens than the policy lets pass, by day and whose they are.
-- grain: usage_date, source, team_id, project_id, application, model
--   requests: requests above the limit
--   tokens: tokens of all of them, in and out
--   most_tokens: tokens of the largest
--   largest_event_id: its event
--   largest_at: when it was
--   contracted_cost: what they should have cost; NULL where none has a price
with sized as (
    select
        usage_date, source, team_id, project_id, application, model, event_id, occurred_at, contracted_cost,
        input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens + reasoning_tokens
            + audio_input_tokens + audio_output_tokens as tokens
    from usage_events
)
select
    usage_date, source, team_id, project_id, application, model,
    count(*) as requests,
    sum(tokens)::bigint as tokens,
    max(tokens)::bigint as most_tokens,
    min_by(event_id, {'n': -tokens, 'id': event_id}) as largest_event_id,
    min_by(occurred_at, {'n': -tokens, 'id': event_id}) as largest_at,
    sum(contracted_cost)::decimal(38, 12) as contracted_cost
from sized
where tokens > $large_tokens
group by all
