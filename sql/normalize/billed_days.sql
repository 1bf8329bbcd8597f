-- Account-days that a bill speaks about: usage on any other day is accrued until its bill comes.
-- A bill that is a snapshot of a vendor's whole month speaks from its first day up to the last day it has usage for; a cost that we spread ourselves is no such day.
-- grain: billing_account_id, usage_date
with stated as (
    select distinct billing_account_id, usage_date
    from bill_coverage
    where usage_date >= $period_start and usage_date < $period_end
),
reached as (
    select
        billing_account_id, max(usage_date) as last_day,
        greatest($period_start::date, least((billing_period || '-01')::date, min(usage_date))) as first_day
    from bill_lines
    where charge_category = 'Usage' and usage_date >= $period_start and usage_date < $period_end and usage_period = $period
        and source in (select source from bill_coverage where usage_date is null)
        and (contract_id is null or contract_id not in (select contract_id from policy_contracts where spread_to is not null))
    group by billing_account_id, billing_period
)
select billing_account_id, usage_date
from stated
union
select r.billing_account_id, d::date as usage_date
from reached r, lateral (select unnest(generate_series(r.first_day, r.last_day, interval 1 day)) as d)
