-- How wrong the forecasts of past months were after a week, two and three, beside simply expecting the month before again.
-- Half a month is nothing to expect again: a team that began in the course of the month before, or after it, is left out where others have a whole one.
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
--   verdict: better, worse or equal than expecting last month's cost; nothing_to_compare where there was no whole month before
with over as (
    select scope, scope_id, period, to_date as actual from forecast_history where days_left = 0 and method = 'last_7_days'
),
begun as (
    select scope, scope_id, min(as_of) as first_day from forecast_history group by all
),
before as (
    select o.scope, o.scope_id, n.period, o.actual
    from over o
    join periods p on p.period = o.period
    join periods n on n.starts_on = p.ends_on
    join begun s on s.scope = o.scope and s.scope_id = o.scope_id and s.first_day <= p.starts_on
),
looked as (
    select
        h.scope, h.period, (h.as_of - p.starts_on + 1)::integer as after_day, h.method, h.forecast, o.actual, b.actual as naive,
        bool_or(b.actual is not null) over (partition by h.scope, h.period, after_day, h.method) as compares
    from forecast_history h
    join periods p on p.period = h.period
    join over o on o.scope = h.scope and o.scope_id = h.scope_id and o.period = h.period
    left join before b on b.scope = h.scope and b.scope_id = h.scope_id and b.period = h.period
    where h.scope <> 'budget' and h.forecast is not null and h.as_of - p.starts_on + 1 in (7, 14, 21)
    qualify naive is not null or not compares
),
summed as (
    select
        scope, period, after_day, method, count(*) as series,
        sum(actual)::decimal(38, 12) as actual,
        sum(abs(forecast - actual))::decimal(38, 12) as error,
        sum(abs(naive - actual))::decimal(38, 12) as naive_error
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
