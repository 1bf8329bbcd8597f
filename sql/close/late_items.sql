-- What each cost center is charged late for a closed month, and whether that is too little for statement lines of its own:
-- less than close.yaml's materiality, in money or in percent of what the month's statement said.
-- grain: period, original_period, cost_center
--   late_amount: the changes of its lines added up without their signs, so that none hides another; in the statement's currency
--   stated_amount: what the cost center was charged for the month at its last close
with lines as (
    select
        c.period, l.original_period, l.cost_center, l.team_id, l.service, l.model, l.activity, l.billing_currency,
        sum(l.chargeback_cost)::decimal(38, 12) as late
    from correction_ledger l
    join correction_charges c on c.origin_charge_id = l.origin_charge_id
    where c.period <> l.original_period and l.activity <> 'recovery'
    group by all
),
late as (
    select
        n.period, n.original_period, n.cost_center,
        money(sum(abs(pico(n.late)) * pico(case when n.billing_currency = b.currency then 1 else coalesce(f.rate, 1) end) // 1000000000000)::hugeint) as late_amount
    from lines n
    cross join policy_company b
    left join exchange_rates f on f.period = n.original_period and f.currency = n.billing_currency
    group by all
),
stated as (
    select s.period as original_period, s.cost_center, sum(s.amount)::decimal(18, 2) as stated_amount
    from booked_statement_lines s
    join periods p on p.period = s.period and p.version = s.version
    group by all
)
select
    l.period, l.original_period, l.cost_center, l.late_amount,
    coalesce(s.stated_amount, 0)::decimal(18, 2) as stated_amount,
    l.late_amount < c.materiality_amount or l.late_amount * 100 < abs(coalesce(s.stated_amount, 0)) * c.materiality_percent as is_small
from late l
cross join policy_close c
left join stated s on s.original_period = l.original_period and s.cost_center is not distinct from l.cost_center
