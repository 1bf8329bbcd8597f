-- The rollup of API traffic, one row per meter: what was metered and what it should have cost at our prices, volume tiers included.
-- Images, search units and requests are meters where they have a price of their own. A call that has no price has no cost here.
-- Our own model servers are left out: their traffic is a weight, never money.
-- grain: usage_date, provider, billing_account_id, model, service_tier, meter, and the attribution key
with priced as (
    select u.*, r.* exclude (usage_period, rate_id, rate_source, contract_id, provider, model, service_tier, region, valid_from, valid_to, minute_from, minute_to,
        input_gt, input_le, source, recorded_at, source_version)
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
            {'meter': 'audio_output', 'quantity': p.audio_output_tokens, 'list': p.list_audio_output::decimal(20, 18), 'rate': p.contracted_audio_output::decimal(20, 18)},
            {'meter': 'images', 'quantity': case when p.contracted_images is not null then p.images end, 'list': p.list_images::decimal(20, 18), 'rate': p.contracted_images::decimal(20, 18)},
            {'meter': 'search_units', 'quantity': case when p.contracted_search_units is not null then p.search_units end, 'list': p.list_search_units::decimal(20, 18), 'rate': p.contracted_search_units::decimal(20, 18)},
            {'meter': 'requests', 'quantity': case when p.contracted_requests is not null and p.gateway_cache = 'none' then p.requests end, 'list': p.list_requests::decimal(20, 18), 'rate': p.contracted_requests::decimal(20, 18)}
        ]) as m
    from priced p
),
summed as (
    select
        usage_date, provider, billing_account_id, model, service_tier, region, team_id, project_id, application, environment,
        case operation
            when 'embedding' then 'embedding'
            when 'fine_tune' then 'training'
            else 'inference' end as activity,
        m.meter as meter,
        sum(m.quantity)::decimal(38, 12) as quantity,
        sum(case when rate_id is not null then round_even(m.quantity::decimal(18, 0) * m.list, 12) end)::decimal(38, 12) as list_cost,
        sum(case when rate_id is not null then round_even(m.quantity::decimal(18, 0) * m.rate, 12) end)::decimal(38, 12) as contracted_cost
    from metered
    where m.quantity > 0
    group by all
),
-- Volume tiers go by the month's quantity so far: the tokens of a day that fall into a tier have its price. The policy has them only
-- where periods are calendar months.
tiered_days as (
    select t.contract_id, t.mode, m.usage_date, sum(m.quantity)::hugeint as quantity
    from summed m
    join (select distinct contract_id, mode, provider, model, meter, valid_from, valid_to from policy_volume_tiers) t
        on t.provider = m.provider and t.model = m.model and t.meter = m.meter
        and m.usage_date >= t.valid_from and m.usage_date < t.valid_to
    group by all
),
volumes as (
    select
        *,
        sum(quantity) over (partition by contract_id order by usage_date)::hugeint as through,
        sum(quantity) over (partition by contract_id)::hugeint as month
    from tiered_days
),
priced_days as (
    select
        v.contract_id, t.provider, t.model, t.meter, v.usage_date, v.quantity,
        sum(pico(t.per_token) * case v.mode
            when 'graduated' then greatest(least(v.through, t.up_to) - t.above, 0) - greatest(least(v.through - v.quantity, t.up_to) - t.above, 0)
            else case when v.month > t.above and v.month <= t.up_to then v.quantity else 0 end end)::hugeint as units
    from volumes v
    join policy_volume_tiers t on t.contract_id = v.contract_id
    group by all
),
tiered as (
    select
        s.* exclude (contracted_cost),
        case when d.units is null then s.contracted_cost
            else money(cut(d.units, (sum(s.quantity) over so_far - s.quantity)::hugeint, (sum(s.quantity) over so_far)::hugeint, d.quantity)) end
            as contracted_cost
    from summed s
    left join priced_days d on d.provider = s.provider and d.model = s.model and d.meter = s.meter and d.usage_date = s.usage_date
    window so_far as (
        partition by s.provider, s.model, s.meter, s.usage_date
        order by s.billing_account_id, s.service_tier, s.region, s.team_id, s.project_id, s.application, s.environment, s.activity
        rows unbounded preceding)
)
select
    usage_date, provider, billing_account_id, model, service_tier, region, team_id, project_id, application, environment, activity,
    meter, quantity, list_cost, contracted_cost
from tiered
