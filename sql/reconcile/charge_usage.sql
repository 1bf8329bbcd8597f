-- The metered traffic behind each usage charge: what its direct split goes by.
-- It is the traffic of the charge's comparison; of a charge in searches or seconds, that of its model on the day.
-- grain: charge_id, team_id, project_id, application, environment, activity
--   metered_tokens: of provisioned units, weighted tokens
--   metered_cost: zero where nothing has a price, and of provisioned units
with compared as (
    select k.charge_id, m.*
    from charge_comparisons k
    join usage_comparisons u on u.usage_period = $period and u.comparison_id = k.comparison_id
    join usage_meters m on m.usage_period = $period and m.provider = u.provider and m.billing_account_id = u.billing_account_id
        and m.model is not distinct from u.model and m.meter = u.meter and m.service_tier = u.service_tier and m.usage_date = u.usage_date
    where k.usage_period = $period and k.comparability = 'comparable'
    union all by name
    select k.charge_id, m.*
    from charge_comparisons k
    join usage_meters m on m.usage_period = $period and m.provider = k.provider and m.billing_account_id = k.billing_account_id
        and m.model = k.model and m.usage_date = k.usage_date
    where k.usage_period = $period and k.comparability = 'other_unit'
    union all by name
    select c.charge_id, m.*
    from origin_charges c
    join usage_meters m on m.usage_period = $period and m.provider = c.provider and m.billing_account_id = c.billing_account_id
        and m.model is not distinct from c.model and m.meter = c.sku_meter and m.service_tier = c.service_tier and m.usage_date = c.usage_date
    where c.usage_period = $period and c.origin = 'accrual'
    union all by name
    -- What was bought ahead goes to the traffic that it covers: a commitment by what it should have cost, provisioned units by the tokens
    -- that took them, as the contract weighs them.
    select
        c.charge_id,
        m.* replace (
            case when t.contract_id is null then m.quantity when m.meter in ('images', 'search_units', 'requests') then 0
                when m.meter in ('output', 'audio_output') then (m.quantity * t.output_weight)::decimal(38, 12)
                when m.meter = 'cache_read' then (m.quantity * t.cache_read_weight)::decimal(38, 12) else m.quantity end as quantity,
            case when t.contract_id is null then m.contracted_cost end as contracted_cost)
    from contract_use u
    join origin_charges c on c.usage_period = $period and c.charge_id = u.charge_id
    join policy_contracts k on k.contract_id = c.contract_id
    left join policy_throughput t on t.contract_id = c.contract_id
    join usage_meters m on m.usage_period = $period and m.provider = k.provider and m.usage_date = c.usage_date
        and (k.billing_account_id is null or k.billing_account_id = m.billing_account_id)
    where u.usage_period = $period and u.used > 0
        and exists (select 1 from policy_contract_covers v where v.contract_id = c.contract_id and m.model glob v.model)
)
select
    charge_id, team_id, project_id, application, environment, activity,
    sum(quantity)::decimal(38, 12) as metered_tokens,
    sum(coalesce(contracted_cost, 0))::decimal(38, 12) as metered_cost
from compared
group by all
