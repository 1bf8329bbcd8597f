-- What did each team cost per day this month, and what is the running total? Corrections count on the day that they correct.
with daily as (
    select usage_date, team_id, sum(chargeback_cost) as cost
    from ledger
    where original_period = (select max(period) from periods)
    group by all
)
select
    usage_date,
    team_id,
    cost::decimal(18, 2) as cost,
    (sum(cost) over (partition by team_id order by usage_date))::decimal(18, 2) as month_to_date
from daily
order by usage_date, team_id;
