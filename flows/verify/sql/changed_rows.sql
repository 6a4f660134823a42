-- Adds to `change` the rows of one page of a table that differ from those of the baseline. Both
-- pages hold all rows of the table up to the rowid `$last`.
INSERT INTO change
SELECT
    $table,
    coalesce(n.id, b.id),
    nullif(coalesce(n.cid, b.cid), ''::BLOB),
    CASE WHEN b.id IS NULL THEN 'added' WHEN n.id IS NULL THEN 'removed' ELSE 'altered' END
FROM (SELECT * FROM page_now WHERE id <= $last) n
FULL JOIN (SELECT * FROM page_before WHERE id <= $last) b ON n.id = b.id
WHERE n IS DISTINCT FROM b;
