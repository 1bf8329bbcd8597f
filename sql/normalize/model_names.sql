-- What each logged model name was taken to mean, and by which rule.
-- grain: provider, model_as_logged
--   price_provider: whose list price applies; NULL where no price is known
select provider, model_as_logged, model, price_provider, price_model, rule
from model_resolution
