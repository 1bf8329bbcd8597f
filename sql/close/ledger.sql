-- The one table that every figure sums from: who carries what of which charge, by which rule, and why.
-- For every charge the rows add up to the charge in list, contracted, effective and billed cost and in quantity;
-- chargeback_cost adds up to its effective cost.
-- grain: ledger_id
--   version: the newest version of the period that has the row; 0 in a period that is open or reopened
--   since_version: the version that booked the row first; 0 where none has yet. Version 2 of a period is its rows since 1 and since 2
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
        c.period, c.charge_id, l.* exclude (origin_charge_id)
    from correction_ledger l
    join correction_charges c on c.origin_charge_id = l.origin_charge_id
    union all by name
    select * from dispute_ledger
),
sorted as (
    select
        *,
        case
            when activity = 'recovery' then 'recovery'
            when original_period <> period or cost_pool = 'dispute' then 'adjustment'
            when method = 'rate' then 'direct'
            when stage > 0 or activity in ('index_maintenance', 'gpu_idle', 'storage', 'platform', 'commitment_idle', 'tax', 'credit') then 'shared'
            else 'direct' end as category
    from rows
),
-- Late items of a cost center that are not material join one line.
lined as (
    select
        s.*,
        case when s.category = 'adjustment' and s.cost_pool <> 'dispute' and i.is_small
            then key_of([s.period, s.team_id, s.cost_center, s.legal_entity, 'small late items', s.billing_currency])
            else key_of([s.period, s.team_id, s.cost_center, s.legal_entity, s.category, s.service, s.model, s.activity, s.billing_currency]) end as line_id
    from sorted s
    left join late_items i on i.period = s.period and i.original_period = s.original_period and i.cost_center is not distinct from s.cost_center
)
select
    ledger_id, period, 0::integer as version, 0::integer as since_version, usage_date, charge_id, portion, part, team_id, cost_center, legal_entity, project_id,
    application, environment, service, model, activity, category, cost_pool, rule_id, method, stage, driver, driver_quantity,
    driver_total, driver_unit, fallback_level, split_by, allocated_ratio, consumed_quantity, consumed_unit, list_cost, contracted_cost,
    effective_cost, billed_cost, chargeback_cost, metered_cost, billing_currency, estimate_status, original_period, reason, line_id
from lined
union all by name
select b.* exclude (version), case when p.state = 'closed' then p.version else 0 end::integer as version, b.version as since_version
from booked_ledger b
join periods p on p.period = b.period
