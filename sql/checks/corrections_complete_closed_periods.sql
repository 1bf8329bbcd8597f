-- What is booked for a closed period, wherever it is booked, adds up to what it is now known to have cost. severity: fail
with known as (
    select usage_period, sum(effective_cost) as effective_cost, sum(billed_cost) as billed_cost from period_charges group by all
),
booked as (
    select original_period, sum(effective_cost) as effective_cost, sum(billed_cost) as billed_cost from charges group by all
)
select k.usage_period as period, k.effective_cost as known, b.effective_cost as booked
from known k
join booked b on b.original_period = k.usage_period
where k.effective_cost <> b.effective_cost or k.billed_cost <> b.billed_cost
