-- How many samples do two selections share, and do they rank these alike?
-- One row: how many stay, and the correlation of their ranks (Spearman; null below two). Views: mine, other.
with ranked as (
    select
        row_number() over (order by m.rank) as before,
        row_number() over (order by o.rank) as after
    from mine m
    join other o using (sample_id)
)
select count(*) as samples, case when count(*) > 1 then corr(before, after) end as rank_correlation
from ranked
