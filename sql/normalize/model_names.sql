-- What each logged model name was taken to mean, and by which rule.
-- grain: provider, model_as_logged
--   price_provider: whose list price applies, or the vendor itself where only a contract prices the model; NULL where no price is known
with agreed as (
    select distinct provider, model from policy_private_prices
)
select
    r.provider, r.model_as_logged, r.model,
    coalesce(r.price_provider, a.provider) as price_provider,
    coalesce(r.price_model, a.model) as price_model,
    case when r.price_model is null and a.model is not null then 'private price' else r.rule end as rule,
    r.source_version
from model_resolution r
left join agreed a on a.provider = r.provider and a.model = r.model
