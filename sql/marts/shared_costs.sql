-- How each statement line came about, pot by pot: what a rule split, by which units, and what the team carries of it.
-- A pot is what one rule splits at once by the same units; where the rule keeps indexes, serving pools or clusters apart,
-- `pot` says which of them it is. cost = pool_cost x our_units / all_units, but for rounding to twelve decimals.
-- grain: period, version, line_id, cost_pool, rule_id, part, stage, driver, fallback_level, pot, our_units, all_units, reason
--   pot: name of the index, serving pool or cluster; NULL where the rule does not keep them apart
--   our_units: the team's units of the driver in the pot, for this line
--   all_units: all units of the driver in the pot
--   our_share: our_units as part of all_units, for reading; rounded
--   charges: origin charges in the pot that the line has a part of
--   first_day: first day of these charges
--   last_day: last day of these charges
--   pool_cost: effective cost of these charges that the rule split: what teams carry and what it sent to teams that pass it on
--   pool_charged: the same without charges that the rate card covers
--   effective_cost: what the line carries of pool_cost
--   chargeback_cost: what the team is charged of it
with mine as (
    select
        period, version, team_id, line_id, category, service, charge_id, portion, part, stage, cost_pool, rule_id, method, driver,
        driver_total, fallback_level, reason, split_by, billing_currency, usage_date,
        sum(driver_quantity)::decimal(38, 12) as units, sum(effective_cost)::decimal(38, 12) as effective_cost,
        sum(chargeback_cost)::decimal(38, 12) as chargeback_cost
    from ledger
    group by all
),
booked as (
    select period, version, charge_id, bool_or(activity = 'recovery') as covered
    from ledger
    group by all
),
split as (
    select period, version, charge_id, portion, part, stage, rule_id, driver, driver_total, effective_cost, chargeback_cost
    from ledger
    union all by name
    select
        b.period, b.version, s.charge_id, s.portion, s.part, s.stage, s.rule_id, s.driver, s.driver_total, s.effective_cost,
        case when b.covered then 0 else s.effective_cost end as chargeback_cost
    from allocation_steps s
    join booked b on b.charge_id = s.charge_id
),
everyone as (
    select
        period, version, charge_id, portion, part, stage, rule_id, driver, driver_total,
        sum(effective_cost)::decimal(38, 12) as effective_cost, sum(chargeback_cost)::decimal(38, 12) as chargeback_cost
    from split
    group by all
),
apart as (
    select
        m.*,
        case when list_has_any(string_split(m.split_by, ','), ['charge_id', 'vector_index_id']) then c.vector_index_id end as vector_index_id,
        case when list_has_any(string_split(m.split_by, ','), ['charge_id', 'serving_pool']) then c.serving_pool end as serving_pool,
        case when list_has_any(string_split(m.split_by, ','), ['charge_id', 'cluster']) then c.cluster end as cluster
    from mine m
    join charges c on c.charge_id = m.charge_id and c.period = m.period
),
indexes as (
    select distinct vector_index_id, name from policy_vector_indexes
)
select
    a.period, a.version, a.team_id, a.line_id, a.category, a.service, a.cost_pool, a.rule_id, a.part, a.stage, a.method, a.driver,
    a.fallback_level, a.reason,
    coalesce(i.name, a.vector_index_id, p.name, a.serving_pool, a.cluster) as pot,
    a.vector_index_id,
    a.serving_pool,
    a.cluster,
    a.units as our_units,
    a.driver_total as all_units,
    case when a.driver_total > 0 then (a.units / a.driver_total)::decimal(18, 12) end as our_share,
    count(distinct a.charge_id) as charges,
    min(a.usage_date) as first_day,
    max(a.usage_date) as last_day,
    sum(e.effective_cost)::decimal(38, 12) as pool_cost,
    sum(e.chargeback_cost)::decimal(38, 12) as pool_charged,
    sum(a.effective_cost)::decimal(38, 12) as effective_cost,
    sum(a.chargeback_cost)::decimal(38, 12) as chargeback_cost,
    a.billing_currency
from apart a
join everyone e on e.period = a.period and e.version = a.version and e.charge_id = a.charge_id and e.portion = a.portion
    and e.rule_id = a.rule_id and e.stage = a.stage and e.part is not distinct from a.part
    and e.driver is not distinct from a.driver and e.driver_total is not distinct from a.driver_total
left join indexes i on i.vector_index_id = a.vector_index_id
left join policy_serving_pools p on p.serving_pool = a.serving_pool
group by all
