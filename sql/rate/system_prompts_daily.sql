-- How much of the input of calls was the system prompt, by day: only calls that say it, and of which it is no more than their input.
-- grain: usage_date, team_id, project_id, application, provider, model, operation
--   requests: calls that say how long their system prompt was
--   system_prompt_tokens: tokens of their system prompts, as the callers counted them
--   input_tokens: all their input, cached input included
select
    usage_date, team_id, project_id, application, provider, model, operation,
    sum(requests)::bigint as requests,
    sum(system_prompt_tokens)::bigint as system_prompt_tokens,
    sum(input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + audio_input_tokens)::bigint as input_tokens
from usage_events
where system_prompt_tokens is not null and gateway_cache = 'none'
    and system_prompt_tokens <= input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + audio_input_tokens
group by all
