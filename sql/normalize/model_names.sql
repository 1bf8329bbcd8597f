-- What each logged model name was taken to mean, and by which rule.
-- grain: provider, model_as_logged
--   price_provider: with price_model where `rates` has its price; NULL where no price is known. It is the seller's own name of the model,
--     so that discounts, private prices and the unit prices of its bill apply, or the list's where the seller has two lists for one name
--   price_model: the model in `rates`
--   list_provider: whose list price applies; NULL where only a contract prices the model, or nothing does
--   list_model: the model in that list
with agreed as (
    select distinct provider, model from policy_private_prices
),
resolved as (
    select
        *,
        case when price_model is not null then {'provider': price_provider, 'model': price_model} end as list,
        min(list) over (partition by seller, model) is not distinct from max(list) over (partition by seller, model) as has_one_list
    from model_resolution
)
select
    r.provider, r.model_as_logged, r.model,
    case when r.list is null then a.provider when r.has_one_list then r.seller else r.price_provider end as price_provider,
    case when r.list is null then a.model when r.has_one_list then r.model else r.price_model end as price_model,
    r.price_provider as list_provider,
    r.price_model as list_model,
    case when r.list is null and a.model is not null then 'private price' else r.rule end as rule,
    r.source_version
from resolved r
left join agreed a on a.provider = r.seller and a.model = r.model
