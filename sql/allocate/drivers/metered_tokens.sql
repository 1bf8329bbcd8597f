-- The tokens behind a charge: for models without a price, and of provisioned units as their contract weighs them.
-- called: metered tokens
-- unit: Tokens
select charge_id, team_id as target, project_id, application, environment, activity, metered_tokens as weight
from charge_usage
where usage_period = $period
