-- What one outcome of the business costs: tickets, conversations, documents, customers, as landed under data/landing/outcomes/ and declared
-- in budgets.yaml. Trends compare whole months; NULL is n/a, never zero. A saving that came with worse answers says so.
-- grain: unit_id, period
--   unit_id: the unit, as budgets.yaml declares it
--   name: its name
--   metric: the landed metric that it counts
--   about: whose cost it is
--   is_whole: whether the month is over; cost of a month that is not is of the days so far
--   quantity: outcomes; NULL where none were landed
--   cost: what its teams, projects and applications are charged
--   cost_per_outcome: cost for each outcome; NULL without outcomes
--   prior_quantity: outcomes of the month before
--   prior_cost: cost of the month before, with the corrections that it had later
--   prior_cost_per_outcome: cost for each outcome of the month before
--   change_percent: cost_per_outcome against the month before
--   marginal_cost: what one more outcome cost: the cost that came, for each outcome that came; NULL where their number did not change
--   value: what the outcomes were worth, as landed
--   cost_of_value_percent: cost in percent of it
--   alternative_cost: what the same would have cost without AI
--   return_percent: alternative_cost less cost, in percent of cost: 100 is twice the money's worth
--   baseline: declared cost of one outcome before
--   against_baseline_percent: cost_per_outcome above it; negative is cheaper
--   target: declared cost of one outcome to come to
--   against_target_percent: cost_per_outcome above it
--   target_state: met, missed, or n/a
--   quality_score: mean score that the application gave its answers; NULL where it gave none
--   quality_events: answers with a score
--   prior_quality_score: the same in the month before
--   quality_change_percent: quality_score against the month before
--   verdict: cheaper, cheaper_but_worse, dearer, dearer_but_better, unchanged, new, n/a; worse and better are more than one percent of the score
with known as (
    select u.*, l.period as prior_period
    from unit_outcomes u
    join periods p on p.period = u.period
    left join periods l on l.ends_on = p.starts_on
),
compared as (
    select
        k.*, case when k.is_whole then x.quantity end as prior_quantity, case when k.is_whole then x.cost end as prior_cost,
        x.unit_id is null as is_new,
        for_each(k.cost, k.quantity) as cost_per_outcome,
        case when k.is_whole then for_each(x.cost, x.quantity) end as prior_cost_per_outcome,
        for_each(k.quality_sum, k.quality_events) as quality_score,
        case when k.is_whole then for_each(x.quality_sum, x.quality_events) end as prior_quality_score
    from known k
    left join unit_outcomes x on x.unit_id = k.unit_id and x.period = k.prior_period
),
trends as (
    select
        *,
        percent_of(cost_per_outcome - prior_cost_per_outcome, abs(prior_cost_per_outcome)) as change_percent,
        percent_of(quality_score - prior_quality_score, prior_quality_score) as quality_change_percent
    from compared
),
words as (
    select unit_id, string_agg(field || ' ' || value, ', ' order by field, value) as about from policy_unit_scope group by all
)
select
    t.unit_id, u.name, u.metric, coalesce(w.about, 'the company') as about, t.period, t.is_whole, t.currency,
    t.quantity, t.cost, t.cost_per_outcome, t.prior_quantity, t.prior_cost, t.prior_cost_per_outcome, t.change_percent,
    for_each(t.cost - t.prior_cost, t.quantity - t.prior_quantity) as marginal_cost,
    t.value, percent_of(t.cost, t.value) as cost_of_value_percent,
    t.alternative_cost, case when t.cost > 0 then percent_of(t.alternative_cost - t.cost, t.cost) end as return_percent,
    u.baseline, percent_of(t.cost_per_outcome - u.baseline, u.baseline) as against_baseline_percent,
    u.target, percent_of(t.cost_per_outcome - u.target, u.target) as against_target_percent,
    case when t.cost_per_outcome <= u.target then 'met' when t.cost_per_outcome > u.target then 'missed' else 'n/a' end as target_state,
    t.quality_score, t.quality_events, t.prior_quality_score, t.quality_change_percent,
    case
        when t.cost_per_outcome is null or not t.is_whole then 'n/a'
        when t.is_new then 'new'
        when t.change_percent is null then 'n/a'
        when t.change_percent < 0 and t.quality_change_percent < -1 then 'cheaper_but_worse'
        when t.change_percent < 0 then 'cheaper'
        when t.change_percent > 0 and t.quality_change_percent > 1 then 'dearer_but_better'
        when t.change_percent > 0 then 'dearer'
        else 'unchanged' end as verdict
from trends t
join periods p on p.period = t.period
join policy_units u on u.unit_id = t.unit_id and u.valid_from < p.ends_on and u.valid_to > p.starts_on
left join words w on w.unit_id = t.unit_id
