-- What each month is expected to cost in the end, as of the last complete day: of the company, of each team, and of what each budget is about.
-- grain: scope, scope_id, period, method
--   scope: company, team or budget
--   scope_id: the team or the budget; the company's own name for the company
--   as_of: the last complete day that the forecast knows
--   method: last_7_days (the one that budgets and pages show), weekdays, run_rate
--   basis: actual where the month is over, forecast, or too_few_days
--   to_date: cost of the month up to this day, one-off cost included
--   one_off_cost: the part of it that does not come again
--   days_used: complete days behind the mean
--   days_left: days of the month after this day
--   growth: factor declared for the team, 1 where nothing is declared
--   forecast: cost expected at the end of the month, in the company's currency; NULL where too few days are known
--   low: lower end of an interval that holds 95 of 100 months if days vary as in the last week; an estimate
--   high: its upper end
select
    scope, scope_id, period, as_of, method,
    case when days_left = 0 then 'actual' when forecast is null then 'too_few_days' else 'forecast' end as basis,
    to_date, one_off_cost, days_used, days_left, growth, forecast, low, high
from forecast_history
qualify as_of = max(as_of) over (partition by scope, scope_id, period)
