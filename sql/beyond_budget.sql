-- Which candidates come next when one costs more than what is left of the budget?
-- One row for each of the first $most of them, in order: its rank, its cost, and what was spent before it.
with candidates as (
    select sample_id, order_key, cost
    from read_parquet($scores, hive_partitioning = false)
    where target = $target and barred is null and isfinite(coalesce(order_key, 'nan'::double))
        and sample_id not in (select sample_id from taken)
),
ranked as (
    select
        cost,
        row_number() over best_first as rank,
        sum(cost) over (best_first rows unbounded preceding) as spent
    from candidates
    window best_first as (order by order_key desc, sample_id)
)
select rank, cost, spent - cost as before
from ranked
where spent > $budget
order by rank
limit $most
