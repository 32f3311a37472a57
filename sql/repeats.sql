-- How far down the order goes what repeats until the budget is spent?
-- At least $first candidates, and as many as let $epochs passes over them spend it; all, where that is not enough.
-- One row, or none: the rank of the last, and what one pass over them costs. $scores: score files; $budget: in the unit of `cost`.
with candidates as (
    select sample_id, order_key, cost
    from read_parquet($scores, hive_partitioning = false)
    where barred is null and isfinite(coalesce(order_key, 'nan'::double))
),
ranked as (
    select
        row_number() over best_first as rank,
        sum(cost) over (best_first rows unbounded preceding) as spent
    from candidates
    window best_first as (order by order_key desc, sample_id)
)
select rank, spent
from ranked
order by
    rank >= $first and ($epochs is null or spent * $epochs >= $budget) desc,
    case when rank >= $first and ($epochs is null or spent * $epochs >= $budget) then rank else -rank end
limit 1
