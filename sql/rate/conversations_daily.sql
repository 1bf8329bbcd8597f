-- Conversations by day, and how much more their last call carried than their first: the context that grows from turn to turn. Only calls
-- that name a session; what is asked of a model by one session on one day is a conversation, however long it goes on.
-- grain: usage_date, team_id, project_id, application
--   conversations: sessions of the day
--   long_conversations: those with two turns or more: only they can grow
--   turns: calls of models in all conversations; an attempt that failed is not one
--   most_turns: of the longest conversation
--   first_input_tokens: input of the first turn, cached input included, summed over the long conversations
--   last_input_tokens: input of the last turn, summed over the long conversations
--   largest_input_tokens: the largest input of a single turn
--   input_tokens: input of all turns
--   output_tokens: output of all turns, reasoning included
--   contracted_cost: what all turns should have cost at our prices
with turns as (
    select
        usage_date, team_id, project_id, application, session_id, occurred_at,
        input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + audio_input_tokens as asked,
        output_tokens + reasoning_tokens + audio_output_tokens as answered,
        contracted_cost
    from usage_events
    where session_id is not null and model is not null and gateway_cache = 'none' and status = 'success' and operation <> 'embedding'
),
sessions as (
    select
        usage_date, team_id, project_id, application, hash(session_id) as session,
        count(*) as turns, arg_min(asked, occurred_at) as first_asked, arg_max(asked, occurred_at) as last_asked, max(asked) as largest,
        sum(asked) as asked, sum(answered) as answered, sum(contracted_cost) as contracted_cost
    from turns
    group by all
)
select
    usage_date, team_id, project_id, application,
    count(*) as conversations,
    count(*) filter (turns > 1) as long_conversations,
    sum(turns)::bigint as turns,
    max(turns)::bigint as most_turns,
    coalesce(sum(first_asked) filter (turns > 1), 0)::bigint as first_input_tokens,
    coalesce(sum(last_asked) filter (turns > 1), 0)::bigint as last_input_tokens,
    max(largest)::bigint as largest_input_tokens,
    sum(asked)::bigint as input_tokens,
    sum(answered)::bigint as output_tokens,
    sum(contracted_cost)::decimal(38, 12) as contracted_cost
from sessions
group by all
