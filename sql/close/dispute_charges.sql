-- A charge of nothing for every accepted dispute that no closed version holds yet: its ledger rows move cost between teams.
-- It is booked in the disputed month while that is not closed, else in the earliest open one.
-- grain: charge_id
select
    a.charge_id, 'dispute' as provider, a.dispute_id as billing_account_id, a.team_id as sub_account_id, a.legal_entity,
    'Adjustment' as charge_category, case when d.period <> a.period then 'Correction' end as charge_class,
    'Dispute ' || a.dispute_id as service, a.reason_code as sku_meter, 'adjustment' as activity, 'dispute' as origin, a.usage_date,
    a.usage_date::timestamp as charge_period_start, a.usage_date::timestamp + interval 1 day as charge_period_end,
    a.period as billing_period, d.period as period, 0::decimal(38, 12) as list_cost, 0::decimal(38, 12) as contracted_cost,
    0::decimal(38, 12) as effective_cost, 0::decimal(38, 12) as billed_cost, a.currency as billing_currency,
    'Final' as estimate_status, a.period as original_period
from accepted_disputes a
join destinations d on d.original_period = a.period
where a.charge_id not in (select charge_id from booked_charges)
