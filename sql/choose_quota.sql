-- Which samples fill each group's quota, and how often does each count?
-- One row per candidate, by shard and row within it. $scores: score files; $groups, $quotas: lists of the same length;
-- $max_epochs: how often a sample may count.
with wanted as (
    select unnest($groups) as name, unnest($quotas) as quota
),
candidates as (
    select
        part, file_row_number as row, sample_id, order_key, barred,
        decode(group_by) as name, barred is null as eligible
    from read_parquet($scores, hive_partitioning = false, file_row_number = true)
),
placed as (
    select
        candidates.*, wanted.quota,
        row_number() over (partition by eligible, candidates.name order by order_key desc, sample_id) as place,
        count(*) over (partition by eligible, candidates.name) as available
    from candidates left join wanted on candidates.name = wanted.name
),
counted as (
    select
        *,
        case
            when not eligible then (barred = 'passed_through')::bigint
            when quota is null then 0
            when quota >= available * $max_epochs then $max_epochs
            else quota // available + (place <= quota % available)::bigint
        end as copies
    from placed
)
select
    part, row, sample_id,
    copies > 0 as kept,
    case
        when eligible then row_number() over (partition by eligible order by copies > 0 desc, order_key desc, sample_id)
    end as rank,
    greatest(copies, 1)::double as weight,
    case
        when not eligible then barred
        when quota is null then 'no_quota'
        when copies > 0 then 'in_quota'
        else 'over_quota'
    end as reason,
    null::ubigint as related_id
from counted
order by part, row
