-- How many samples of each range of a number were kept? Ranges hold equally many, and equal values lie in one.
-- One row a range, lowest first; nulls are one more. $field is put in quoted; $bins ranges; $most is not used.
with ranked as (
    select
        p.$field as value, s.sample_id is not null as kept,
        case
            when p.$field is not null
            then least($bins - 1, floor(percent_rank() over (partition by p.$field is null order by p.$field) * $bins))
        end as bin
    from pool p left join (select distinct sample_id from selection) s using (sample_id)
),
ranges as (
    select bin, min(value) as low, max(value) as high, count(*) as pool, count(*) filter (kept) as kept
    from ranked
    group by bin
)
select
    case when bin is null then 'null' when low = high then low::text else low::text || ' to ' || high::text end as name,
    pool, kept
from ranges
where $most > 0
order by bin nulls last
