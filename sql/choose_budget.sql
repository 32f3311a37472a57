-- What does the budget buy? Candidates by order key until the next one would cost too much, and $more of those beyond; or,
-- where the best $distinct repeat, each of them $passes times, and the first once more while $left lasts.
-- One row per candidate, by shard and row within it. $scores: score files; $budget, $left: in the unit of `cost`; $more: ranks.
-- Ties break on sample_id, so the answer does not depend on threads.
with candidates as (
    select
        part, file_row_number as row, sample_id, order_key, cost, barred,
        barred is null and isfinite(coalesce(order_key, 'nan'::double)) as eligible
    from read_parquet($scores, hive_partitioning = false, file_row_number = true)
),
ranked as (
    select
        part, row, sample_id, barred, eligible,
        row_number() over best_first as rank,
        sum(cost) over (best_first rows unbounded preceding) as spent
    from candidates
    window best_first as (partition by eligible order by order_key desc, sample_id)
),
chosen as (
    select
        *,
        eligible and case
            when $distinct is null then spent <= $budget or list_contains($more, rank)
            else rank <= $distinct
        end as chosen
    from ranked
)
select
    part, row, sample_id,
    chosen or coalesce(barred = 'passed_through', false) as kept,
    case when eligible then rank end as rank,
    case when chosen then $passes + ($left > 0 and spent <= $left)::bigint else 1 end::double as weight,
    case
        when barred is not null then barred
        when not eligible then 'not_scorable'
        when chosen then 'chosen'
        else 'below_cut'
    end as reason,
    null::ubigint as related_id
from chosen
order by part, row
