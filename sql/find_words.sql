-- Which samples have these words?
-- One row per sample. Reads the view `pool`. $words: as they stand in text, key or uri, whatever the case. A pattern finds them in
-- half the time that lower() takes.
select sample_id
from pool
where regexp_matches(text, regexp_escape($words), 'i') or regexp_matches(key, regexp_escape($words), 'i')
    or regexp_matches(uri, regexp_escape($words), 'i')
