-- Which samples have these words?
-- One row per sample. Reads the view `pool`. $words: in text, key or uri, whatever the case.
select sample_id
from pool
where contains(lower(text), lower($words)) or contains(lower(key), lower($words)) or contains(lower(uri), lower($words))
