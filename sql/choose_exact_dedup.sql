-- Which sample stands for each content? One that an earlier run chose, else the one with the smallest key.
-- One row per candidate, by shard and row within it. $scores: score files, `group_by` the content hash, `tie` the key;
-- $earlier: the same of what earlier runs chose, where that is not among them.
with candidates as (
    select
        part, file_row_number as row, sample_id, group_by, tie, barred,
        barred is null as eligible,
        barred is null or barred = 'kept_earlier' as counted
    from read_parquet($scores, hive_partitioning = false, file_row_number = true)
    union all
    select -1 as part, 0 as row, sample_id, group_by, tie, 'kept_earlier' as barred, false as eligible, true as counted
    from read_parquet($earlier, hive_partitioning = false)
),
grouped as (
    select
        part, row, sample_id, barred, eligible,
        first_value(sample_id) over smallest_key as kept_id,
        row_number() over smallest_key as place,
        count(*) over (partition by counted, group_by) as copies
    from candidates
    window smallest_key as (partition by counted, group_by order by eligible, tie, sample_id)
)
select
    part, row, sample_id,
    case when eligible then place = 1 else barred = 'passed_through' end as kept,
    null::bigint as rank,
    1.0::double as weight,
    case
        when not eligible then barred
        when copies = 1 then 'unique'
        when place = 1 then 'first_of_duplicates'
        else 'duplicate'
    end as reason,
    case when eligible and place > 1 then kept_id end as related_id
from grouped
where part >= 0
order by part, row
