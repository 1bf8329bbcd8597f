-- What each team used of a model, at our prices.
-- called: use of the same model at our prices
-- unit: USD
select usage_date, provider, model, team_id as target, sum(coalesce(contracted_cost, 0))::decimal(38, 12) as weight
from usage_meters
where usage_period = $period
group by all
