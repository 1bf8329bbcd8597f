-- Cost on its way through support teams: what each received and passed on.
-- grain: charge_id, portion, part, stage, rule_id, team_id
select
    charge_id, portion, part, stage::integer as stage, cost_pool, rule_id, method, driver, target as team_id,
    driver_quantity, driver_total, fallback_level::integer as fallback_level, effective_cost, list_cost, contracted_cost, billed_cost,
    consumed_quantity, reason
from allocation_steps
