-- What each service of the rate card cost the platform, and what its rates brought in.
-- grain: period, version, service, billing_currency
--   cost: effective cost of the charges that the service covers, its idle capacity included
--   sold: quantity times rate, from all teams
--   recovered: sold less cost; negative where the rates did not cover the cost
select
    period, version, part as service, billing_currency,
    coalesce(sum(chargeback_cost) filter (method = 'to'), 0)::decimal(38, 12) as cost,
    coalesce(-sum(chargeback_cost) filter (method = 'rate'), 0)::decimal(38, 12) as sold,
    (-sum(chargeback_cost))::decimal(38, 12) as recovered
from ledger
where activity = 'recovery'
group by all
