-- How are one step's scores spread, kept against dropped? One row per filled bin, lowest first.
-- $step; $bins. Bins span the 0.5% to 99.5% quantiles, so that a few far scores don't flatten the picture; what lies
-- beyond counts in the outermost bins.
with scored as (
    select score, kept
    from ledger
    where step = $step and score is not null and isfinite(score)
),
span as (
    select quantile_cont(score, 0.005) as low, quantile_cont(score, 0.995) as high
    from scored
),
binned as (
    select
        kept, low, high,
        greatest(0, least($bins - 1, floor((score - low) / nullif(high - low, 0) * $bins)))::int as bin
    from scored, span
)
select coalesce(bin, 0) as bin, low, high, count(*) filter (where kept) as kept, count(*) filter (where not kept) as dropped
from binned
group by all
order by bin
