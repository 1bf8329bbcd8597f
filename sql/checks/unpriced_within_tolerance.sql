-- Tokens of models without a price stay within the tolerance of close.yaml. severity: close
with tokens as (
    select
        p.period,
        sum(input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens + reasoning_tokens) as total,
        coalesce(sum(input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens + reasoning_tokens)
            filter (u.unpriced_events > 0), 0) as unpriced
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.serving_pool is null and p.state <> 'closed' and ($only_period is null or p.period = $only_period)
    group by all
)
select t.period, t.unpriced as unpriced_tokens, t.total as all_tokens, c.unpriced_tokens_percent as tolerance_percent
from tokens t
cross join policy_close c
where t.unpriced * 100 > t.total * c.unpriced_tokens_percent
