-- For closed periods that something arrived for: what each row should be under the frozen policy, less what is booked. For
-- reopened ones: what it should be under today's.
-- grain: origin_charge_id, portion, part, stage, rule_id, team_id, project_id, application, environment, activity
with recomputed as (
    select usage_period as original_period, charge_id as origin_charge_id, * exclude (usage_period, charge_id, ledger_id)
    from period_ledger
    where usage_period in (select original_period from destinations where is_recomputed)
),
booked as (
    select coalesce(c.corrects_charge_id, c.charge_id) as origin_charge_id, l.* exclude (charge_id, ledger_id, period)
    from booked_ledger l
    join booked_charges c on c.charge_id = l.charge_id
    where l.original_period in (select original_period from destinations where is_recomputed) and c.origin <> 'dispute'
),
sides as (
    select *, 1 as side from recomputed
    union all by name
    select *, -1 as side from booked
)
select
    original_period, origin_charge_id, usage_date, portion, part, team_id, cost_center, legal_entity, project_id, application,
    environment, service, model, activity, cost_pool, rule_id, method, stage, driver,
    max(driver_quantity) filter (side = 1) as driver_quantity,
    max(driver_total) filter (side = 1) as driver_total,
    max(driver_unit) filter (side = 1) as driver_unit,
    coalesce(max(fallback_level) filter (side = 1), max(fallback_level)) as fallback_level,
    coalesce(max(split_by) filter (side = 1), max(split_by)) as split_by,
    sum(side * allocated_ratio)::decimal(38, 12) as allocated_ratio,
    sum(side * consumed_quantity)::decimal(38, 12) as consumed_quantity,
    consumed_unit,
    sum(side * list_cost)::decimal(38, 12) as list_cost,
    sum(side * contracted_cost)::decimal(38, 12) as contracted_cost,
    sum(side * effective_cost)::decimal(38, 12) as effective_cost,
    sum(side * billed_cost)::decimal(38, 12) as billed_cost,
    sum(side * chargeback_cost)::decimal(38, 12) as chargeback_cost,
    sum(side * metered_cost)::decimal(38, 12) as metered_cost,
    billing_currency,
    coalesce(max(estimate_status) filter (side = 1), max(estimate_status)) as estimate_status,
    coalesce(max(reason) filter (side = 1), max(reason)) as reason
from sides
group by all
having list_cost <> 0 or contracted_cost <> 0 or effective_cost <> 0 or billed_cost <> 0 or chargeback_cost <> 0 or consumed_quantity <> 0
    or allocated_ratio <> 0
