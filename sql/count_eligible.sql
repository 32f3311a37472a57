-- How many candidates may be chosen at all? One row. $scores: score files; a sample counts once for all targets.
select count(*) filter (where target = 0 and barred is null and isfinite(coalesce(order_key, 'nan'::double))) as eligible
from read_parquet($scores, hive_partitioning = false)
