-- The rollup of API traffic, one row per meter: what was metered and what it should have cost at our prices.
-- Our own model servers are left out: their traffic is a weight, never money.
-- grain: usage_date, provider, billing_account_id, model, service_tier, meter, and the attribution key
with priced as (
    select u.*, r.* exclude (usage_period, rate_id, rate_source, contract_id, provider, model, service_tier, valid_from, valid_to, input_gt, input_le)
    from usage_daily u
    left join rates r on r.usage_period = $period and r.rate_id = u.rate_id
    where u.serving_pool is null and u.usage_date >= $period_start and u.usage_date < $period_end
),
metered as (
    select
        p.usage_date, p.provider, coalesce(p.billing_account_id, p.provider) as billing_account_id, p.model, p.service_tier,
        p.region, p.team_id, p.project_id, p.application, p.environment, p.operation, p.rate_id,
        unnest([
            {'meter': 'input_uncached', 'quantity': p.input_uncached_tokens, 'list': p.list_input_uncached::decimal(20, 18), 'rate': p.contracted_input_uncached::decimal(20, 18)},
            {'meter': 'cache_read', 'quantity': p.cache_read_tokens, 'list': p.list_cache_read::decimal(20, 18), 'rate': p.contracted_cache_read::decimal(20, 18)},
            {'meter': 'cache_write_5m', 'quantity': p.cache_write_5m_tokens, 'list': p.list_cache_write_5m::decimal(20, 18), 'rate': p.contracted_cache_write_5m::decimal(20, 18)},
            {'meter': 'cache_write_1h', 'quantity': p.cache_write_1h_tokens, 'list': p.list_cache_write_1h::decimal(20, 18), 'rate': p.contracted_cache_write_1h::decimal(20, 18)},
            {'meter': 'output', 'quantity': p.output_tokens, 'list': p.list_output::decimal(20, 18), 'rate': p.contracted_output::decimal(20, 18)},
            {'meter': 'output', 'quantity': p.reasoning_tokens, 'list': p.list_reasoning::decimal(20, 18), 'rate': p.contracted_reasoning::decimal(20, 18)},
            {'meter': 'audio_input', 'quantity': p.audio_input_tokens, 'list': p.list_audio_input::decimal(20, 18), 'rate': p.contracted_audio_input::decimal(20, 18)},
            {'meter': 'audio_output', 'quantity': p.audio_output_tokens, 'list': p.list_audio_output::decimal(20, 18), 'rate': p.contracted_audio_output::decimal(20, 18)}
        ]) as m
    from priced p
)
select
    usage_date, provider, billing_account_id, model, service_tier, region, team_id, project_id, application, environment,
    case operation
        when 'embedding' then 'embedding'
        when 'fine_tune' then 'training'
        else 'inference' end as activity,
    m.meter as meter,
    sum(m.quantity)::decimal(38, 12) as quantity,
    sum(case when rate_id is not null then round_even(m.quantity::decimal(18, 0) * coalesce(m.list, 0), 12) end)::decimal(38, 12) as list_cost,
    sum(case when rate_id is not null then round_even(m.quantity::decimal(18, 0) * coalesce(m.rate, 0), 12) end)::decimal(38, 12) as contracted_cost
from metered
where m.quantity > 0
group by all
