-- Which samples and rejects does a file's name mean?
-- Reads pool and rejects. $stem: the name without an image's suffix; $name: as it was asked; $end: with a slash before it.
-- One row a key; null where a reject has none.
select key from pool where key = $stem or uri = $name or ends_with(uri, $end)
union
select key from rejects where key = $stem or source = $name or ends_with(source, $end)
