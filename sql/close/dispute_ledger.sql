-- The two rows of an accepted dispute: what the disputing team no longer carries, and who carries it instead. They add up to
-- zero in every cost column.
-- grain: ledger_id
with sides as (
    select dispute_id, team_id, cost_center, legal_entity, -1 as side from accepted_disputes
    union all
    select dispute_id, to_team_id, to_cost_center, to_legal_entity, 1 as side from accepted_disputes
)
select
    key_of([c.charge_id, s.team_id, s.side::varchar]) as ledger_id, c.period, c.usage_date, c.charge_id, 'dispute' as portion, '' as part,
    s.team_id, s.cost_center, s.legal_entity, c.service, 'adjustment' as activity, 'dispute' as cost_pool, 'dispute' as rule_id,
    'to' as method, 0::integer as stage, 0::integer as fallback_level, 0::decimal(38, 12) as allocated_ratio,
    0::decimal(38, 12) as consumed_quantity,
    (s.side * a.list_cost)::decimal(38, 12) as list_cost,
    (s.side * a.contracted_cost)::decimal(38, 12) as contracted_cost,
    (s.side * a.effective_cost)::decimal(38, 12) as effective_cost,
    (s.side * a.billed_cost)::decimal(38, 12) as billed_cost,
    (s.side * a.amount)::decimal(38, 12) as chargeback_cost,
    c.billing_currency, c.estimate_status, c.original_period,
    'dispute ' || a.dispute_id || ', accepted by ' || a.resolved_by || ': ' || replace(a.reason_code, '_', ' ') as reason
from dispute_charges c
join accepted_disputes a on a.charge_id = c.charge_id
join sides s on s.dispute_id = a.dispute_id
