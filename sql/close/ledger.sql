-- The one table that every figure sums from: who carries what of which charge, by which rule, and why.
-- For every charge the rows add up to the charge in list, contracted, effective and billed cost and in quantity;
-- chargeback_cost adds up to its effective cost.
-- grain: ledger_id
--   version: the closed version the row belongs to; 0 in a period that is still open
--   line_id: the statement line that the row sums into
--   allocated_method_id: FOCUS AllocatedMethodId: the rule, as allocation_rules describes it
--   allocated_method_details: FOCUS AllocatedMethodDetails as JSON: the ratio and, where a driver decided, this row's units of it; on a correction the change of the ratio, so that it and what it corrects sum to one
--   category: direct, shared, adjustment or recovery: the section of the statement
with rows as (
    select
        ledger_id, usage_period as period, usage_date, charge_id, portion, part, team_id, cost_center, legal_entity, project_id,
        application, environment, service, model, activity, cost_pool, rule_id, method, stage, driver, driver_quantity,
        driver_total, driver_unit, fallback_level, split_by, allocated_ratio, consumed_quantity, consumed_unit, list_cost, contracted_cost,
        effective_cost, billed_cost, chargeback_cost, metered_cost, billing_currency, estimate_status,
        usage_period as original_period, reason
    from period_ledger
    where usage_period in (select unnest($open))
    union all by name
    select
        key_of([c.charge_id, l.portion, l.part, l.stage::varchar, l.rule_id, l.driver, l.team_id, l.cost_center, l.project_id,
            l.application, l.environment, l.activity]) as ledger_id,
        $open_period as period, c.charge_id, l.* exclude (origin_charge_id)
    from correction_ledger l
    join correction_charges c on c.origin_charge_id = l.origin_charge_id
),
sorted as (
    select
        *,
        case
            when activity = 'recovery' then 'recovery'
            when original_period <> period then 'adjustment'
            when method = 'rate' then 'direct'
            when stage > 0 or activity in ('index_maintenance', 'gpu_idle', 'storage', 'platform', 'commitment_idle', 'tax', 'credit') then 'shared'
            else 'direct' end as category
    from rows
)
select
    ledger_id, period, 0::integer as version, usage_date, charge_id, portion, part, team_id, cost_center, legal_entity, project_id,
    application, environment, service, model, activity, category, cost_pool, rule_id, method, stage, driver, driver_quantity,
    driver_total, driver_unit, fallback_level, split_by, allocated_ratio, consumed_quantity, consumed_unit, list_cost, contracted_cost,
    effective_cost, billed_cost, chargeback_cost, metered_cost, billing_currency, estimate_status, original_period, reason,
    key_of([period, team_id, cost_center, legal_entity, category, service, model, activity, billing_currency]) as line_id
from sorted
union all by name
select * from booked_ledger
