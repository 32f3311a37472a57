-- What is chosen where there are no steps? Everything that is not set aside, in the order of the pool.
-- One row per sample. $pool: the pool's files; $aside: ids.
select
    row_number() over (order by filename, file_row_number) as rank, sample_id, 1.0::double as weight,
    null::double as score
from read_parquet($pool, hive_partitioning = false, filename = true, file_row_number = true)
where sample_id not in (select unnest($aside))
