-- The numbers of the log rise by one from row to row, and each event has a larger number than its
-- prev, which has its number in the log or in the database.
SELECT l.cid, l.number, e.prev AS related, l.detail, FALSE AS in_baseline
FROM (
    SELECT cid, number, 'row ' || place || ' has not number ' || wanted AS detail
    FROM (SELECT *, (SELECT mode(number - place) FROM log) + place AS wanted FROM log)
    WHERE number IS DISTINCT FROM wanted OR number < 1
    UNION ALL
    SELECT
        l.cid,
        l.number,
        'prev has ' || coalesce('number ' || coalesce(p.number, c.parent_number), 'no number')
    FROM log l
    JOIN event e USING (cid)
    JOIN child c ON c.id = e.id
    LEFT JOIN log p ON p.cid = CASE WHEN c.parent IS NOT NULL THEN e.prev END
    WHERE l.number <= coalesce(p.number, c.parent_number)
    OR coalesce(p.number, c.parent_number) IS NULL
) l
LEFT JOIN event e USING (cid);
