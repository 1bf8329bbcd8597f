-- Where money could be saved, from each month's own traffic: what it would have cost otherwise, ranked, each with what it takes for granted.
-- Estimates beside the books: nothing here is posted, and savings of different kinds are not added up, because they touch the same calls.
-- grain: period, rank
--   rank: 1 saves most
--   kind: model (another model of a vendor, as budgets.yaml lists candidates), own_model (our own model server), batch (batch work at the
--     batch tier), prompt_cache (as many cached tokens as the best project with the same model), failed_attempts, idle_gpus (cards that no hour
--     of the month needed), off_peak (GPU jobs, and calls that can wait, at the cheapest hours),
--     unused_commitment, more_commitment (what every day needs, bought ahead, as budgets.yaml lists offers)
--   team_id: the team that it is about; `*` where it is not about one
--   subject: the model, cluster or contract
--   instead: what would stand in its place
--   current_cost: what it cost in the month so far: calls at our prices, GPUs and contracts as charged
--   alternative_cost: what it would have cost
--   saving: the difference, always above zero
--   saving_percent: of current_cost
--   assumptions: what has to be true for it
--   currency: of the row's amounts
with traffic as (
    select
        p.period, u.usage_date, u.provider, u.model, u.team_id, u.project_id, u.application, u.request_type, u.service_tier, u.status, u.operation,
        u.input_uncached_tokens::decimal(18, 0) as plain, u.cache_read_tokens::decimal(18, 0) as read,
        u.cache_write_5m_tokens::decimal(18, 0) as write_5m, u.cache_write_1h_tokens::decimal(18, 0) as write_1h,
        u.output_tokens::decimal(18, 0) as output, u.reasoning_tokens::decimal(18, 0) as reasoning,
        u.audio_input_tokens + u.audio_output_tokens + u.images = 0 as is_text,
        u.contracted_cost, r.provider as price_provider, r.model as price_model, r.input_gt, r.region, r.minute_from, r.service_tier as price_tier,
        r.contracted_input_uncached::decimal(20, 18) as plain_price, r.contracted_cache_read::decimal(20, 18) as read_price
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    left join rates r on r.usage_period = p.period and r.rate_id = u.rate_id
    where u.usage_date <= $through and u.contracted_cost is not null and u.gateway_cache = 'none' and u.model is not null
),
prices as (
    select
        usage_period as period, provider, model, service_tier, region, input_gt, minute_from, valid_from, valid_to,
        contracted_input_uncached::decimal(20, 18) as plain_price,
        coalesce(contracted_cache_read, contracted_input_uncached)::decimal(20, 18) as read_price,
        coalesce(contracted_cache_write_5m, contracted_input_uncached)::decimal(20, 18) as write_5m_price,
        coalesce(contracted_cache_write_1h, contracted_input_uncached)::decimal(20, 18) as write_1h_price,
        contracted_output::decimal(20, 18) as output_price,
        coalesce(contracted_reasoning, contracted_output)::decimal(20, 18) as reasoning_price
    from rates
),
chosen as (
    select t.*, c.ord, c.other_provider, c.other_model, c.serving_pool, c.team_id as for_team, c.application as for_application
    from traffic t
    join policy_candidates c on c.provider = t.provider and c.model = t.model and t.team_id = coalesce(c.team_id, t.team_id)
        and (c.application is null or c.application = t.application)
    where t.is_text
),
other_models as (
    select
        c.period, 'model' as kind, coalesce(c.for_team, '*') as team_id, c.for_application as application, c.model as subject, c.other_model as instead,
        sum(c.contracted_cost)::decimal(38, 12) as current_cost,
        case when bool_and(p.plain_price is not null) then sum(c.plain * p.plain_price + c.read * p.read_price + c.write_5m * p.write_5m_price
            + c.write_1h * p.write_1h_price + c.output * p.output_price + c.reasoning * p.reasoning_price) end::decimal(38, 12) as alternative_cost,
        'the other model takes the same tokens, is good enough, and has its standard price of each day without steps for long contexts' as assumptions
    from chosen c
    left join prices p on p.period = c.period and p.provider = c.other_provider and p.model = c.other_model and p.service_tier = 'standard'
        and p.region = '' and p.input_gt = -1 and p.minute_from = 0 and c.usage_date >= p.valid_from and c.usage_date < p.valid_to
    where c.serving_pool is null
    group by c.ord, c.period, c.for_team, c.for_application, c.model, c.other_model
),
pool_rates as (
    select
        period, serving_pool,
        max(full_rate_per_million) filter (meter = 'input_uncached') as plain_rate, max(full_rate_per_million) filter (meter = 'cache_read') as read_rate,
        max(full_rate_per_million) filter (meter = 'output') as output_rate
    from blended_rates
    group by all
),
-- Exact to the last digit but for the month's rate, which is rounded: tokens times dollars for a million.
own_models as (
    select
        c.period, 'own_model' as kind, coalesce(c.for_team, '*') as team_id, c.for_application as application, c.model as subject, c.serving_pool as instead,
        sum(c.contracted_cost)::decimal(38, 12) as current_cost,
        money((sum((c.plain + c.write_5m + c.write_1h)::hugeint * pico(b.plain_rate) + c.read::hugeint * pico(b.read_rate)
            + (c.output + c.reasoning)::hugeint * pico(b.output_rate)) // 1000000)::hugeint) as alternative_cost,
        'our own model takes the same tokens, is good enough, and a million tokens keep the cost they had this month with idle GPUs in it; '
            || 'more tokens on the same GPUs cost less' as assumptions
    from chosen c
    join pool_rates b on b.period = c.period and b.serving_pool = c.serving_pool
    group by c.ord, c.period, c.for_team, c.for_application, c.model, c.serving_pool
),
batches as (
    select
        t.period, 'batch' as kind, t.team_id, t.application, t.model as subject, 'batch tier' as instead,
        sum(t.contracted_cost)::decimal(38, 12) as current_cost,
        sum(t.plain * p.plain_price + t.read * p.read_price + t.write_5m * p.write_5m_price + t.write_1h * p.write_1h_price
            + t.output * p.output_price + t.reasoning * p.reasoning_price)::decimal(38, 12) as alternative_cost,
        'calls that say they are batch work can wait for the vendor''s batch tier, and cached input costs there what its price says' as assumptions
    from traffic t
    join prices p on p.period = t.period and p.provider = t.price_provider and p.model = t.price_model and p.service_tier = 'batch'
        and p.region = t.region and p.input_gt = t.input_gt and p.minute_from = t.minute_from and t.usage_date >= p.valid_from and t.usage_date < p.valid_to
    where t.request_type = 'batch' and coalesce(t.service_tier, 'standard') = 'standard' and t.status = 'success' and t.is_text
        and t.operation <> 'embedding'
    group by t.period, t.team_id, t.application, t.model
),
cached as (
    select
        period, provider, model, team_id, project_id, any_value(application) as application,
        sum(contracted_cost)::decimal(38, 12) as cost, sum(plain + read + write_5m + write_1h)::hugeint as input, sum(read)::hugeint as read,
        sum(plain)::hugeint as plain, sum(plain * (plain_price - read_price))::decimal(38, 12) as gap
    from traffic
    where operation <> 'embedding' and status = 'success' and project_id is not null and plain_price is not null and read_price is not null
    group by all
),
-- The project to learn from is one of some size: it has a twentieth of the model's input or more.
compared as (
    select *, input * 20 >= sum(input) over (partition by period, provider, model) as is_known from cached
),
best as (
    select
        c.*, arg_max(b.project_id, b.read * 1000000 // nullif(b.input, 0)) as best_project, max(b.read * 1000000 // nullif(b.input, 0)) as best_ppm
    from compared c
    join compared b on b.period = c.period and b.provider = c.provider and b.model = c.model and b.is_known
    group by all
),
caches as (
    select
        period, 'prompt_cache' as kind, team_id, project_id, application, model as subject, 'as cached as ' || best_project as instead,
        cost as current_cost,
        (cost - money((pico(gap) * least(input * best_ppm // 1000000 - read, plain) // nullif(plain, 0))::hugeint))::decimal(38, 12) as alternative_cost,
        'prompts can be laid out as those of ' || best_project || ' (' || percent_of(best_ppm, 1000000) || '% of input cached, here '
            || percent_of(read, input) || '%); what writing to the cache costs is not in it' as assumptions
    from best
    where input * best_ppm // 1000000 > read
),
failures as (
    select
        period, 'failed_attempts' as kind, team_id, application, model as subject, 'no failed attempts' as instead,
        sum(failed_cost)::decimal(38, 12) as current_cost, 0::decimal(38, 12) as alternative_cost,
        'no attempt fails that the vendor bills: the most that better retries and limits could save' as assumptions
    from efficiency
    where scope = 'detail'
    group by period, team_id, application, model
),
hours as (
    select p.period, g.cluster, g.usage_hour, sum(g.gpu_seconds) filter (g.use = 'idle_unallocated') as idle
    from gpu_hourly g
    join periods p on g.usage_date >= p.starts_on and g.usage_date < p.ends_on
    where g.usage_date <= $through
    group by all
),
never_needed as (
    select
        h.period, h.cluster, sum(h.idle) as idle,
        case when count(h.idle) = (least(p.ends_on, $through::date + 1) - p.starts_on) * 24 then (min(h.idle) // 3600)::bigint else 0 end as cards, count(*) as hours
    from hours h
    join periods p on p.period = h.period
    group by h.period, h.cluster, p.starts_on, p.ends_on
),
idle as (
    select
        n.period, 'idle_gpus' as kind, '*' as team_id, n.cluster as subject, (n.cards || ' cards fewer') as instead,
        c.effective_cost as current_cost,
        (c.effective_cost - money((pico(c.effective_cost) * (n.cards * n.hours * 3600) // n.idle::hugeint)::hugeint))::decimal(38, 12) as alternative_cost,
        'cards that nobody held in any hour of the month can be given back, and their cost goes with them' as assumptions
    from never_needed n
    join gpu_costs c on c.period = n.period and c.cluster = n.cluster and c.use = 'idle_unallocated'
    where n.cards > 0
),
shifted as (
    select
        p.period, 'off_peak' as kind, g.team_id, g.project_id, g.cluster as subject, 'the cheapest hours' as instead,
        money((sum(pico(g.gpu_seconds) * pico(r.rate) // 1000000000000) // 3600)::hugeint) as current_cost,
        money((sum(pico(g.gpu_seconds) * pico(l.rate) // 1000000000000) // 3600)::hugeint) as alternative_cost,
        'the jobs can wait for the hours with the lowest declared rate, and there is room then' as assumptions
    from gpu_hourly g
    join periods p on g.usage_date >= p.starts_on and g.usage_date < p.ends_on
    join policy_gpu_capacity c on c.cluster = g.cluster and c.gpu_model = g.gpu_model and c.rate is not null
        and g.usage_date >= c.valid_from and g.usage_date < c.valid_to
        and (g.capacity_type is null or c.capacity_type is null or c.capacity_type = g.capacity_type)
    join policy_gpu_rates r on r.entry = c.entry and r.hour_of_day = date_part('hour', g.usage_hour)
    join (select entry, min(rate) as rate from policy_gpu_rates group by all) l on l.entry = c.entry
    where g.use = 'used' and g.serving_pool is null and g.usage_date <= $through
    group by p.period, g.team_id, g.project_id, g.cluster
),
-- Calls that can wait, of models whose price depends on the hour: each row at the cheapest hour of its day.
waiting as (
    select t.*, row_number() over () as n
    from traffic t
    where t.request_type in ('batch', 'background') and t.status = 'success' and t.is_text
),
by_hour as (
    select
        w.n, w.period, w.team_id, w.application, w.model, w.contracted_cost,
        min(w.plain * p.plain_price + w.read * p.read_price + w.write_5m * p.write_5m_price + w.write_1h * p.write_1h_price
            + w.output * p.output_price + w.reasoning * p.reasoning_price) as least_cost
    from waiting w
    join prices p on p.period = w.period and p.provider = w.price_provider and p.model = w.price_model and p.service_tier = w.price_tier
        and p.region = w.region and p.input_gt = w.input_gt and w.usage_date >= p.valid_from and w.usage_date < p.valid_to
    group by all
    having count(distinct p.minute_from) > 1
),
shifted_calls as (
    select
        period, 'off_peak' as kind, team_id, application, model as subject, 'the cheapest hours' as instead,
        sum(contracted_cost)::decimal(38, 12) as current_cost, sum(least_cost)::decimal(38, 12) as alternative_cost,
        'calls that say they are batch or background work can wait for the hours with the lowest price' as assumptions
    from by_hour
    group by period, team_id, application, model
),
commitments as (
    select
        period, 'unused_commitment' as kind, '*' as team_id, contract_id as subject, 'what was used of it' as instead,
        effective_cost as current_cost, (effective_cost - unused_cost)::decimal(38, 12) as alternative_cost, billing_currency as currency,
        'the commitment could have been bought as small as what was used, at the same rate' as assumptions
    from contract_costs
    where unused_cost > 0
),
-- What the vendor's own bill says that nobody used.
left_over as (
    select
        period, 'unused_commitment' as kind, '*' as team_id, 'commitments on the bill of ' || provider as subject, 'what was used of it' as instead,
        unused_cost as current_cost, 0::decimal(38, 12) as alternative_cost, currency,
        'the commitment could have been bought as small as what was used, at the same rate' as assumptions
    from commitment_use
    where kind = 'on_the_bill'
),
-- What each day still cost by itself; a day without any such use needs nothing.
open_days as (
    select p.period, o.ord, o.provider, c.billing_currency as currency, o.percent, o.models, c.usage_date, sum(c.effective_cost) as cost
    from (select ord, provider, percent, valid_from, valid_to, string_agg(model, ', ' order by model) as models, list(model) as patterns from policy_commitment_offers group by all) o
    join charge_portions c on c.provider = o.provider and c.charge_category = 'Usage' and c.origin in ('bill', 'accrual') and c.contract_id is null
        and c.activity in ('inference', 'embedding') and c.serving_pool is null and len(list_filter(o.patterns, lambda pattern: c.model glob pattern)) > 0
        and c.usage_date >= o.valid_from and c.usage_date < o.valid_to and c.usage_date <= $through
    join periods p on p.period = c.usage_period
    group by all
),
offered as (
    select
        d.period, d.ord, d.provider, d.currency, d.percent, d.models, sum(d.cost) as cost, min(pico(d.cost)) * count(*) as base,
        count(*) = max(least(p.ends_on, o.valid_to, $through::date + 1) - greatest(p.starts_on, o.valid_from)) as is_daily
    from open_days d
    join periods p on p.period = d.period
    join (select distinct ord, valid_from, valid_to from policy_commitment_offers) o on o.ord = d.ord
    group by all
),
more as (
    select
        period, 'more_commitment' as kind, '*' as team_id, provider || ' ' || models as subject, 'a commitment of what every day needs' as instead,
        money(base::hugeint) as current_cost, money(cut(base::hugeint, 0, ((100 - percent) * 1000000)::hugeint, 100000000)) as alternative_cost, currency,
        'the vendor takes ' || rtrim(rtrim(percent::varchar, '0'), '.') || '% off what is committed, every day to come needs at least what the smallest of the month needed ('
            || percent_of(money(base::hugeint), cost) || '% of its cost), and the use stays with this vendor for the term' as assumptions
    from offered
    where is_daily and base > 0
),
everything as (
    select *, price_currency() as currency from other_models
    union all by name select *, price_currency() as currency from own_models
    union all by name select *, price_currency() as currency from batches
    union all by name select *, price_currency() as currency from caches
    union all by name select *, price_currency() as currency from failures
    union all by name select *, price_currency() as currency from shifted_calls
    union all by name select i.*, o.currency from idle i cross join policy_company o
    union all by name select s.*, o.currency from shifted s cross join policy_company o
    union all by name select * from commitments
    union all by name select * from left_over
    union all by name select * from more
)
select
    period, row_number() over (partition by period order by current_cost - alternative_cost desc, kind, team_id, subject, project_id, application, instead) as rank,
    kind, team_id, project_id, application, subject, instead, current_cost, alternative_cost,
    (current_cost - alternative_cost)::decimal(38, 12) as saving,
    percent_of(current_cost - alternative_cost, current_cost) as saving_percent, currency, assumptions
from everything
where current_cost > alternative_cost
