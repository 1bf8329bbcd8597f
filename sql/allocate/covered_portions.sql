-- What the platform buys because the rate card sells the use of it: portions of charges, and the service they are sold as.
-- Usage of a model that no gateway saw stays with whoever made it; jobs' GPUs are bought with those that stand idle beside them.
-- grain: charge_id, portion
select p.charge_id, p.portion, min(r.service) as service, p.effective_cost
from charge_portions p
join policy_rate_card r on p.usage_date >= r.valid_from and p.usage_date < r.valid_to
    and case r.covers
        when 'serving_pool' then p.serving_pool = r.serving_pool
        when 'cluster' then p.cluster = r.cluster and p.serving_pool is null and p.charge_category = 'Usage'
            and p.activity in ('training', 'inference', 'gpu_idle')
        when 'model' then p.portion = 'metered' and p.provider = r.provider and p.model = r.model and p.charge_category = 'Usage'
            and p.serving_pool is null and p.cluster is null and p.vector_index_id is null
        when 'vector_index' then p.vector_index_id = coalesce(r.vector_index_id, p.vector_index_id)
            and p.provider = coalesce(r.provider, p.provider) and p.charge_category = 'Usage'
            and (r.meter = index_meter(p.activity, p.consumed_unit) or (r.meter = 'queries' and p.activity = 'query')) end
where p.usage_period = $period
group by all
