-- What did each team cost per day this month, and what is the running total?
select
    usage_date,
    team_id,
    sum(chargeback_cost)::decimal(18, 2) as cost,
    sum(sum(chargeback_cost)) over (partition by team_id order by usage_date)::decimal(18, 2) as month_to_date
from ledger
where period = (select max(period) from periods)
group by all
order by usage_date, team_id;
