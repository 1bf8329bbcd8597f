-- Exact money inside the pipeline: amounts as whole pico-units, and back. Whole units apart, so that quantities fit whose vendors count bytes.
create or replace temp macro pico(amount) as trunc(amount::decimal(38, 12))::hugeint * 1000000000000
    + ((amount::decimal(38, 12) - trunc(amount::decimal(38, 12))) * 1000000000000)::hugeint;
create or replace temp macro money(units) as (units::decimal(38, 0) * 0.000000000001::decimal(12, 12))::decimal(38, 12);
-- units * part // whole, whose product may be larger than any number that fits.
create or replace temp macro part_of(units, part, whole) as units // whole * part + units % whole * part // whole;
-- The part of `units` between two cumulative weights of a total: parts of one amount always add up to it.
create or replace temp macro cut(units, low, high, total) as
    sign(units)::hugeint * (part_of(abs(units), high, total) - part_of(abs(units), low, total));
-- Pico-units as money in whole cents, rounded up.
create or replace temp macro whole_cents(units) as
    (((units - 1) // 10000000000 + 1)::decimal(36, 0) * 0.01::decimal(3, 2))::decimal(38, 2);
-- A DECIMAL as JSON writes a number, with all its digits.
create or replace temp macro json_number(number) as rtrim(rtrim(number::decimal(38, 12)::varchar, '0'), '.');
-- FOCUS AllocatedMethodDetails: the ratio and, where both are known, the unit and the units that decided it.
create or replace temp macro allocated_details(ratio, unit, quantity) as concat(
    '{"Elements":[{"AllocatedRatio":', json_number(ratio),
    ',"UsageUnit":' || to_json(unit)::varchar || ',"UsageQuantity":' || json_number(quantity), '}]}');
-- An id that depends on nothing but the words given, and tells NULL from ''.
create or replace temp macro key_of(words) as md5(to_json(words)::varchar);
-- A name without what spelling adds to it: NVIDIA A100-SXM4 and nvidia_a100_sxm4 are one.
create or replace temp macro bare(name) as regexp_replace(lower(name), '[^a-z0-9]', '', 'g');
-- Pico-units for a million tokens of this weight, where `cost` is for so many weighted tokens.
create or replace temp macro per_million(cost, weight, weighted) as
    pico(cost) * (weight * 1000000)::hugeint * 1000000 // nullif((weighted * 1000000)::decimal(38, 0)::hugeint, 0);
-- What the rate card calls a quantity of a vector index's bill; NULL for what it cannot sell by quantity.
create or replace temp macro index_meter(activity, unit) as case
    when activity = 'storage' and bare(unit) in ('gbmo', 'gbmonth', 'gbmonths', 'gibmo', 'gibmonths', 'gbhours', 'gibhours') then 'gb_months'
    when activity = 'query' and bare(unit) = 'readunits' then 'read_units'
    when activity = 'embedding' and bare(unit) = 'writeunits' then 'write_units' end;
-- Millionths of what is sold, of a billed quantity: a month of storage has 730 hours.
create or replace temp macro sold_millionths(unit, quantity) as
    case when bare(unit) in ('gbhours', 'gibhours') then (pico(quantity) + 365000000) // 730000000
        else (pico(quantity) + 500000) // 1000000 end;
-- Whether a difference is one that the policy lets pass: a percentage of the side it belongs to, or an absolute amount.
create or replace temp macro within(difference, side, percent, amount) as
    abs(difference) <= amount or abs(difference) * 100 <= abs(side) * percent;
-- Whether one number is so many times the other, within one percent.
create or replace temp macro is_scale(number, other, factor) as
    coalesce(other > 0 and abs(number - other * factor) * 100 <= other * factor, false);
-- One amount in percent of another, to two decimals, half away from zero; NULL of nothing.
create or replace temp macro percent_of(part, whole) as
    (sign(pico(part)) * sign(pico(whole)) * ((part_of(abs(pico(part)), 20000, nullif(abs(pico(whole)), 0)) + 1) // 2)::hugeint
        * 0.01::decimal(3, 2))::decimal(38, 2);
-- The currency of every price: public lists are in dollars, and discounts and private prices stand beside them. Amounts at our prices keep
-- it, accruals too: an exchange rate for what the vendor's bill soon replaces would be one that nobody agreed.
create or replace temp macro price_currency() as 'USD';
-- One number for each of another (a cost for each request), to twelve decimals, half away from zero; NULL of none.
create or replace temp macro for_each(part, whole) as
    money((sign(pico(part)) * sign(pico(whole)) * ((part_of(abs(pico(part)), 2000000000000, nullif(abs(pico(whole)), 0)) + 1) // 2))::hugeint);
-- Pico-units of an amount in another currency, at this many units for one.
create or replace temp macro exchanged(amount, rate) as
    sign(amount)::hugeint * part_of(pico(abs(amount)), pico(rate), 1000000000000);
-- A count, and money in cents, as sentences write them: with a comma every three digits.
create or replace temp macro with_commas(number) as format('{:,}', number::bigint);
create or replace temp macro cents_with_commas(amount) as
    if(amount::decimal(38, 2) < 0, '-', '') || with_commas(trunc(abs(amount::decimal(38, 2)))) || right(amount::decimal(38, 2)::varchar, 3);
-- What money was for, as statements and the memos of the journal call it.
create or replace temp macro activity_said(activity) as case activity
    when 'gpu_idle' then 'idle GPUs' when 'query' then 'vector queries' when 'index_maintenance' then 'index upkeep'
    when 'commitment_idle' then 'unused commitment' when 'platform' then 'platform overhead' else activity end;
-- A stretch of days as sentences write it.
create or replace temp macro days_said(first_day, last_day) as case
    when first_day is null then 'on no day' when first_day = last_day then 'on ' || first_day else 'from ' || first_day || ' to ' || last_day end;
-- The same between two currencies, each at its rate to a third; NULL where one of them is not known.
create or replace temp macro in_currency(amount, rate, other_rate) as part_of(exchanged(amount, rate), 1000000000000, pico(other_rate));
