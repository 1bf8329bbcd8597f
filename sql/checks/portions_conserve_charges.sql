-- The portions of a charge add up to it, and their ratios to one. severity: fail
with summed as (
    select usage_period, charge_id, sum(effective_cost) as effective_cost, sum(list_cost) as list_cost, sum(billed_cost) as billed_cost, sum(allocated_ratio) as ratio
    from charge_portions
    group by all
)
select coalesce(o.charge_id, s.charge_id) as charge_id, o.effective_cost as charge, s.effective_cost as portions, s.ratio
from origin_charges o
full join summed s on s.usage_period = o.usage_period and s.charge_id = o.charge_id
where s.effective_cost is distinct from o.effective_cost or s.list_cost is distinct from o.list_cost
    or s.billed_cost is distinct from o.billed_cost or s.ratio is distinct from 1
