-- Which candidates come first?
-- One row for each of the $most best, in order. $scores: score files; $pool: the pool's files. Of several targets the best key counts.
with best as (
    select sample_id, max(order_key) as order_key
    from read_parquet($scores, hive_partitioning = false)
    where barred is null and isfinite(coalesce(order_key, 'nan'::double))
    group by sample_id
    order by order_key desc, sample_id
    limit $most
)
select pool.key, best.order_key as score, pool.text
from best join read_parquet($pool, hive_partitioning = false) pool using (sample_id)
order by best.order_key desc, best.sample_id
