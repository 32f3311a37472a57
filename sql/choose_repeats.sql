-- What does the budget buy where the best $distinct candidates repeat? Each $passes times, the first once more while $left lasts.
-- One row per candidate, by shard and row within it. $scores: score files; $left: in the unit of `cost`.
-- Ties break on sample_id, so the answer does not depend on threads.
with candidates as (
    select
        part, file_row_number as row, sample_id, order_key, cost, barred,
        barred is null and isfinite(coalesce(order_key, 'nan'::double)) as eligible
    from read_parquet($scores, file_row_number = true)
),
ranked as (
    select
        part, row, sample_id, barred, eligible,
        row_number() over best_first as rank,
        sum(cost) over (best_first rows unbounded preceding) as spent
    from candidates
    window best_first as (partition by eligible order by order_key desc, sample_id)
)
select
    part, row, sample_id,
    case when eligible then rank <= $distinct else coalesce(barred = 'passed_through', false) end as kept,
    case when eligible then rank end as rank,
    case when eligible and rank <= $distinct then $passes + (spent <= $left)::bigint else 1 end::double as weight,
    case
        when barred is not null then barred
        when not eligible then 'not_scorable'
        when rank <= $distinct then 'chosen'
        else 'below_cut'
    end as reason,
    null::ubigint as related_id
from ranked
order by part, row
