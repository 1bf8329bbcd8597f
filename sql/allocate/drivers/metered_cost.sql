-- What each team's own tokens behind a charge should have cost.
-- called: metered cost at our prices
-- unit: USD
select charge_id, team_id as target, project_id, application, environment, activity, metered_cost as weight
from charge_usage
where usage_period = $period
