-- The rollup: one row per day, billing key and attribution key that occurred, with every meter summed.
-- grain: usage_date, provider, billing_account_id, model, service_tier, region, context_tier, rate_id, and the attribution key (caller_team_id .. gateway_cache), unpriced_because, unknown_trigger
select
    usage_date, provider_day, provider, billing_account_id, model, service_tier, region, context_tier, rate_id,
    caller_team_id, team_id, project_id, application, environment, operation, vector_index_id, serving_pool,
    request_type, status, gateway_cache, unpriced_because, unknown_trigger,
    count(*) as events,
    sum(requests)::bigint as requests,
    count(*) filter (rate_source = 'unpriced') as unpriced_events,
    sum(input_uncached_tokens)::bigint as input_uncached_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(cache_write_5m_tokens)::bigint as cache_write_5m_tokens,
    sum(cache_write_1h_tokens)::bigint as cache_write_1h_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(reasoning_tokens)::bigint as reasoning_tokens,
    sum(audio_input_tokens)::bigint as audio_input_tokens,
    sum(audio_output_tokens)::bigint as audio_output_tokens,
    sum(avoided_input_tokens)::bigint as avoided_input_tokens,
    sum(avoided_output_tokens)::bigint as avoided_output_tokens,
    sum(images)::bigint as images,
    sum(search_units)::bigint as search_units,
    sum(queries)::bigint as queries,
    sum(latency_ms)::bigint as latency_ms,
    sum(list_cost)::decimal(38, 12) as list_cost,
    sum(contracted_cost)::decimal(38, 12) as contracted_cost,
    sum(source_cost)::decimal(38, 12) as source_cost
from usage_events
group by all
