-- Which models give the most tokens for the money, and how much do they answer per token asked?
with usage as (
    select
        p.period, u.model,
        sum(u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens) as input_tokens,
        sum(u.output_tokens + u.reasoning_tokens) as output_tokens,
        sum(u.requests) as requests
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    group by all
),
cost as (
    select original_period as period, model, sum(effective_cost) as cost, sum(list_cost) as list_cost
    from ledger
    where activity in ('inference', 'embedding')
    group by all
)
select
    c.period, c.model, u.requests, u.input_tokens, u.output_tokens,
    c.cost::decimal(18, 2) as cost,
    round(c.cost::double * 1e6 / nullif(u.input_tokens + u.output_tokens, 0), 4) as cost_per_million_tokens,
    round(u.output_tokens / nullif(u.input_tokens, 0), 3) as output_per_input,
    round(100 - 100 * c.cost::double / nullif(c.list_cost, 0), 1) as percent_below_list
from cost c
join usage u on u.period = c.period and u.model = c.model
order by c.period, cost desc;
