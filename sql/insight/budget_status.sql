-- How far each budget is used, at which pace, and where the month will end.
-- grain: budget_id, for_project, period
--   name: name of the budget
--   version: closed version of the month that the cost is from; 0 while it is open
--   as_of: the last complete day
--   consumed: cost of the month so far
--   consumed_percent: of the amount; NULL where the amount is 0
--   remaining: amount less consumed; negative where it is over
--   elapsed_days: complete days of the month
--   days: days of the month
--   pace_percent: consumed in percent of the amount that these days would have in an even month; 100 is on pace. The amount of a budget
--     for use grows with it: there it is the same as consumed_percent
--   day_mean: mean of the last seven complete days
--   runway_days: days until the amount is used up at that mean, rounded down; 0 where it is used up, NULL at no pace at all, and where the amount grows with use
--   forecast: cost expected at the end of the month; NULL where too few days are known
--   forecast_percent: of the amount; NULL where that still grows with use
--   state: within, at_threshold, over, over_without_amount (cost against an amount of 0), unused
--   threshold_percent: the highest threshold that is crossed; NULL below the first. Of a budget for use, the highest that still is
--   action: what that threshold asks for: note, mail, chat or page
--   review_due: whether the day of review has come
with spent as (
    select budget_id, for_project, period, sum(cost)::decimal(38, 12) as consumed
    from budget_costs
    where usage_date <= $through
    group by all
),
expected as (
    select scope_id, period, as_of, forecast, days_used, days_left
    from forecast
    where scope = 'budget' and method = 'last_7_days'
),
weeks as (
    select
        b.budget_id, b.for_project, b.period,
        sum(c.cost) filter (not c.one_off and c.usage_date > least($through::date, p.ends_on - 1) - 7 and c.usage_date <= least($through::date, p.ends_on - 1)) as week_cost
    from budgets b
    join periods p on p.period = b.period
    join budget_costs c on c.budget_id = b.budget_id and c.for_project = b.for_project
    group by all
),
known as (
    select
        b.*, p.version, least($through::date, p.ends_on - 1) as as_of,
        (least($through::date + 1, p.ends_on) - p.starts_on)::bigint as elapsed_days, (p.ends_on - p.starts_on)::bigint as days,
        coalesce(s.consumed, 0)::decimal(38, 12) as consumed,
        greatest(coalesce(w.week_cost, 0), 0)::decimal(38, 12) as week_cost, least(coalesce(e.days_used, 7), 7)::bigint as days_used, e.forecast
    from budgets b
    join periods p on p.period = b.period
    left join spent s on s.budget_id = b.budget_id and s.for_project = b.for_project and s.period = b.period
    left join weeks w on w.budget_id = b.budget_id and w.for_project = b.for_project and w.period = b.period
    left join expected e on e.scope_id = concat_ws(' ', b.budget_id, nullif(b.for_project, '')) and e.period = b.period
),
crossed as (
    select t.budget_id, t.for_project, t.period, max(t.percent) as threshold_percent, arg_max(t.action, t.percent) as action
    from budget_thresholds t
    join known k on k.budget_id = t.budget_id and k.for_project = t.for_project and k.period = t.period
    where k.kind <> 'usage' or k.consumed * 100 >= k.amount * t.percent
    group by all
)
select
    k.budget_id, k.name, k.kind, k.for_project, k.period, k.version, k.as_of, k.about, k.amount, k.currency,
    k.consumed,
    percent_of(k.consumed, k.amount) as consumed_percent,
    (k.amount - k.consumed)::decimal(38, 12) as remaining,
    k.elapsed_days, k.days,
    case when k.kind = 'usage' then percent_of(k.consumed, k.amount)
        else percent_of(money(pico(k.consumed) * k.days), money(pico(k.amount) * k.elapsed_days)) end as pace_percent,
    money(pico(k.week_cost) // k.days_used) as day_mean,
    case when k.consumed >= k.amount then 0
        when k.kind = 'usage' then null
        else pico(k.amount - k.consumed) * k.days_used // nullif(pico(k.week_cost), 0) end::bigint as runway_days,
    k.forecast,
    case when k.kind <> 'usage' or k.elapsed_days = k.days then percent_of(k.forecast, k.amount) end as forecast_percent,
    case when k.consumed > 0 and k.amount = 0 then 'over_without_amount'
        when k.consumed > k.amount then 'over'
        when c.threshold_percent is not null then 'at_threshold'
        when k.consumed = 0 then 'unused'
        else 'within' end as state,
    c.threshold_percent, c.action, k.owner, k.review_on,
    coalesce(k.review_on <= $through::date, false) as review_due
from known k
left join crossed c on c.budget_id = k.budget_id and c.for_project = k.for_project and c.period = k.period
