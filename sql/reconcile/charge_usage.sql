-- The metered traffic behind each usage charge: what its direct split goes by.
-- grain: charge_id, team_id, project_id, application, environment, activity
with charges as (
    select c.*, r.grain_level
    from origin_charges c
    join reconciliation r on r.usage_period = $period and r.provider = c.provider
        and r.billing_account_id = c.billing_account_id and r.model = c.model and r.meter = c.sku_meter
        and r.variant = c.service_tier and r.usage_date = c.usage_date
    where c.usage_period = $period and c.origin = 'bill' and c.charge_category = 'Usage'
        and c.vector_index_id is null and c.cluster is null and c.contract_id is null and r.billed_cost is not null
    union all by name
    select c.*, 'meter and tier' as grain_level
    from origin_charges c
    where c.usage_period = $period and c.origin = 'accrual'
),
-- What was bought ahead goes to the traffic that it covers.
ahead as (
    select c.charge_id, m.*
    from contract_use u
    join origin_charges c on c.usage_period = $period and c.charge_id = u.charge_id
    join policy_contracts k on k.contract_id = c.contract_id
    join usage_meters m on m.usage_period = $period and m.provider = k.provider and m.usage_date = c.usage_date
        and (k.billing_account_id is null or k.billing_account_id = m.billing_account_id)
    where u.usage_period = $period and u.used > 0
        and exists (select 1 from policy_contract_covers v where v.contract_id = c.contract_id and m.model glob v.model)
)
select
    c.charge_id, m.team_id, m.project_id, m.application, m.environment, m.activity,
    sum(m.quantity)::decimal(38, 12) as metered_tokens,
    sum(coalesce(m.contracted_cost, 0))::decimal(38, 12) as metered_cost
from charges c
join usage_meters m on m.usage_period = $period and m.provider = c.provider
    and m.billing_account_id = c.billing_account_id and m.model = c.model and m.usage_date = c.usage_date
    and (c.grain_level = 'model' or m.meter = c.sku_meter)
    and (c.grain_level <> 'meter and tier' or m.service_tier = c.service_tier)
group by all
union all by name
select
    charge_id, team_id, project_id, application, environment, activity,
    sum(quantity)::decimal(38, 12) as metered_tokens,
    sum(coalesce(contracted_cost, 0))::decimal(38, 12) as metered_cost
from ahead
group by all
