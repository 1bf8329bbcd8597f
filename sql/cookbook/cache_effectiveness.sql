-- How much input came from the provider's prompt cache, and what did that save at the rate in force that day?
-- Writing to the cache costs more than plain input, so the saving can be negative.
with priced as (
    select
        p.period, u.team_id, u.model,
        sum(u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens) as input_tokens,
        sum(u.cache_read_tokens) as cached_tokens,
        sum(u.cache_read_tokens * (r.contracted_input_uncached - r.contracted_cache_read)
            - u.cache_write_5m_tokens * (r.contracted_cache_write_5m - r.contracted_input_uncached)
            - u.cache_write_1h_tokens * (r.contracted_cache_write_1h - r.contracted_input_uncached)) as saved,
        sum(u.avoided_input_tokens + u.avoided_output_tokens) as tokens_avoided_by_gateway_cache
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    left join rates r on r.rate_id = u.rate_id
    group by all
)
select
    period, team_id, model, input_tokens, cached_tokens,
    round(100 * cached_tokens / nullif(input_tokens, 0), 1) as percent_from_cache,
    saved::decimal(18, 2) as saved,
    tokens_avoided_by_gateway_cache
from priced
where input_tokens > 0 or tokens_avoided_by_gateway_cache > 0
order by saved desc nulls last;
