-- How many samples of each group of a field were kept?
-- One row a group, largest first, none where there are more than $most. $field is put in quoted; $bins is not used.
with groups as (
    select p.$field::text as name, count(*) as pool, count(s.sample_id) as kept
    from pool p left join (select distinct sample_id from selection) s using (sample_id)
    group by name
)
select name, pool, kept
from groups
where (select count(*) from groups) <= $most and $bins > 0
order by pool desc, name
