-- How wrong the forecasts of past months were after a week, two and three, beside simply expecting the month before again.
-- grain: scope, period, after_day, method
--   scope: company or team; for teams the errors of all of them are added up
--   after_day: the day of the month whose forecast is looked at
--   method: last_7_days, weekdays, run_rate
--   series: months of teams that are compared
--   actual: what they cost in the end
--   error: sum of the differences between forecast and actual, whatever their sign
--   error_percent: error in percent of actual; NULL where actual is 0
--   naive_error: the same for expecting last month's cost
--   naive_percent: naive error in percent of actual
--   verdict: better, worse or equal than expecting last month's cost; nothing_to_compare where there was no month before
with over as (
    select scope, scope_id, period, to_date as actual from forecast_history where days_left = 0 and method = 'last_7_days'
),
before as (
    select o.scope, o.scope_id, n.period, o.actual
    from over o
    join periods p on p.period = o.period
    join periods n on n.starts_on = p.ends_on
),
looked as (
    select h.scope, h.period, day(h.as_of)::integer as after_day, h.method, h.forecast, o.actual, b.actual as naive
    from forecast_history h
    join over o on o.scope = h.scope and o.scope_id = h.scope_id and o.period = h.period
    left join before b on b.scope = h.scope and b.scope_id = h.scope_id and b.period = h.period
    where h.scope <> 'budget' and h.forecast is not null and day(h.as_of) in (7, 14, 21)
),
summed as (
    select
        scope, period, after_day, method, count(*) as series,
        sum(actual)::decimal(38, 12) as actual,
        sum(abs(forecast - actual))::decimal(38, 12) as error,
        case when count(naive) = count(*) then sum(abs(naive - actual)) end::decimal(38, 12) as naive_error
    from looked
    group by all
)
select
    scope, period, after_day, method, series, actual, error,
    percent_of(error, abs(actual)) as error_percent,
    naive_error,
    percent_of(naive_error, abs(actual)) as naive_percent,
    case when naive_error is null then 'nothing_to_compare' when error < naive_error then 'better' when error > naive_error then 'worse'
        else 'equal' end as verdict
from summed
