-- What did each customer cost? What teams are charged for calls of models, by the customer's part of the metered cost of the same team,
-- application and model. Calls that name no customer stay apart (NULL), and so does what no gateway saw: the rows add up to the ledger.
with calls as (
    select
        p.period, e.team_id, e.application, e.model, e.customer_id,
        sum(e.requests) as requests, sum(coalesce(e.contracted_cost, e.list_cost, 0)) as metered
    from usage_events e
    join periods p on e.usage_date >= p.starts_on and e.usage_date < p.ends_on
    group by all
),
shares as (
    select
        *,
        sum(metered) over alike as all_metered,
        count(*) over alike as rows_alike
    from calls
    window alike as (partition by period, team_id, application, model)
),
cost as (
    select original_period as period, team_id, application, model, sum(chargeback_cost) as cost
    from ledger
    where activity in ('inference', 'embedding')
    group by all
),
carried as (
    select
        c.period, s.customer_id, s.requests,
        c.cost::double * case when s.period is null then 1 when s.all_metered > 0 then s.metered::double / s.all_metered::double else 1 / s.rows_alike end as cost
    from cost c
    left join shares s on s.period = c.period and s.team_id = c.team_id and s.application is not distinct from c.application
        and s.model is not distinct from c.model
)
select period, customer_id, coalesce(sum(requests), 0) as requests, round(sum(cost), 2) as cost
from carried
group by all
order by period, cost desc, customer_id;
