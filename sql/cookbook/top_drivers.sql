-- What moved most since last month, for whom and on what?
with months as (
    select period, row_number() over (order by period desc) as age from periods
),
cost as (
    select
        l.team_id, l.activity, l.service, l.model,
        coalesce(sum(l.chargeback_cost) filter (m.age = 1), 0) as this_month,
        coalesce(sum(l.chargeback_cost) filter (m.age = 2), 0) as last_month
    from ledger l
    join months m on m.period = l.period
    where m.age <= 2
    group by all
)
select
    team_id, activity, service, model,
    this_month::decimal(18, 2) as this_month,
    last_month::decimal(18, 2) as last_month,
    (this_month - last_month)::decimal(18, 2) as change
from cost
order by abs(this_month - last_month) desc
limit 10;
