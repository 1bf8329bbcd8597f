-- How much of each day that was bought ahead the metered use took: of a commitment by cost, of provisioned units by tokens.
-- Use counts at our prices, at the month's rate where the commitment is in another currency, less what the bill still charges for it by
-- itself. Use without any price counts as all of the day. Contracts that cover the same models are used one after another, by their ids.
-- grain: charge_id
--   used: in the unit of `total`: pico-units of currency, or millionths of weighted tokens
--   total: what the day's charges of the contract bought
with bought as (
    select
        o.charge_id, o.contract_id, o.usage_date, c.provider, c.billing_account_id, c.kind, o.billing_currency, t.output_weight, t.cache_read_weight,
        sum(case c.kind when 'commitment' then greatest(pico(o.effective_cost), 0)
            else (greatest(o.consumed_quantity, 0) * 1000000)::hugeint * t.tokens_per_unit_hour end)
            over (partition by o.contract_id, o.usage_date)::hugeint as total
    from origin_charges o
    join policy_contracts c on c.contract_id = o.contract_id
    left join policy_throughput t on t.contract_id = o.contract_id
    where o.usage_period = $period and o.origin = 'bill'
        and c.contract_id in (select contract_id from policy_contract_covers)
),
covers as (
    select contract_id, list(model order by model) as models from policy_contract_covers group by all
),
days as (
    select
        *,
        coalesce(sum(total) over (
            partition by usage_date, provider, billing_account_id, kind, billing_currency, output_weight, cache_read_weight, models
            order by contract_id rows between unbounded preceding and 1 preceding), 0)::hugeint as earlier
    from (
        select distinct
            b.contract_id, b.usage_date, b.provider, b.billing_account_id, b.kind, b.billing_currency, b.output_weight, b.cache_read_weight, b.total, c.models
        from bought b
        join covers c on c.contract_id = b.contract_id
        where b.total > 0
    )
),
metered as (
    select
        d.contract_id, d.usage_date,
        sum(case when d.billing_currency = price_currency() then pico(m.contracted_cost) else in_currency(m.contracted_cost, p.rate, r.rate) end)::hugeint as cost,
        sum(m.quantity::hugeint * case
            when m.meter in ('images', 'search_units', 'requests') then 0
            when m.meter in ('output', 'audio_output') then (coalesce(d.output_weight, 1) * 1000000)::hugeint
            when m.meter = 'cache_read' then (coalesce(d.cache_read_weight, 1) * 1000000)::hugeint
            else 1000000 end) as tokens
    from days d
    join usage_meters m on m.usage_period = $period and m.provider = d.provider and m.usage_date = d.usage_date
        and (d.billing_account_id is null or d.billing_account_id = m.billing_account_id)
    left join period_rates r on r.currency = d.billing_currency
    left join period_rates p on p.currency = price_currency()
    where exists (select 1 from policy_contract_covers v where v.contract_id = d.contract_id and m.model glob v.model)
    group by all
),
charged as (
    select d.contract_id, d.usage_date, sum(pico(o.effective_cost)) as cost
    from days d
    join origin_charges o on o.usage_period = $period and o.origin = 'bill' and o.charge_category = 'Usage' and o.contract_id is null
        and o.provider = d.provider and o.usage_date = d.usage_date
        and (d.billing_account_id is null or d.billing_account_id = o.billing_account_id)
    where exists (select 1 from policy_contract_covers v where v.contract_id = d.contract_id and o.model glob v.model)
    group by all
)
select
    b.charge_id,
    b.total,
    case
        when m.contract_id is null then 0
        when b.kind = 'throughput' then least(greatest(m.tokens - d.earlier, 0), b.total)
        when m.cost is null then b.total
        else least(greatest(m.cost - coalesce(c.cost, 0) - d.earlier, 0), b.total) end::hugeint as used
from bought b
left join days d on d.contract_id = b.contract_id and d.usage_date = b.usage_date
left join metered m on m.contract_id = b.contract_id and m.usage_date = b.usage_date
left join charged c on c.contract_id = b.contract_id and c.usage_date = b.usage_date
where b.total > 0
