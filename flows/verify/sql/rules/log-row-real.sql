-- Every row of the log names an event of the database, once, with its rowid, stream, prev and kind.
SELECT
    l.cid,
    l.number,
    NULL::BLOB AS related,
    CASE
        WHEN l.copies > 1 THEN 'in the log ' || l.copies || ' times'
        WHEN e.id IS NULL THEN 'no event of the database'
        WHEN e.id IS DISTINCT FROM l.id THEN 'its rowid is ' || e.id
        WHEN e.stream IS DISTINCT FROM l.stream THEN 'its blocks name another stream'
        WHEN e.prev IS DISTINCT FROM l.prev THEN 'its blocks name another prev'
        ELSE 'its blocks are those of ' || coalesce(e.kind, 'no event')
    END AS detail,
    FALSE AS in_baseline
FROM (SELECT *, count(*) OVER (PARTITION BY cid) AS copies FROM log) l
LEFT JOIN event e USING (cid)
WHERE l.copies > 1
OR (e.id, e.stream, e.prev, e.kind) IS DISTINCT FROM (l.id, l.stream, l.prev, l.kind);
