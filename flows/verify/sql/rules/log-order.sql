-- The numbers of the log are unique and at least 1, and each event has a larger one than its prev: the log's if it is in the log, else the database's.
SELECT l.cid, l.number, e.prev AS related, l.detail, FALSE AS in_baseline
FROM (
    SELECT cid, number, 'the number of several events' AS detail FROM log
    SEMI JOIN (SELECT number FROM log GROUP BY number HAVING count(DISTINCT cid) > 1) shared USING (number)
    UNION ALL
    SELECT cid, number, 'below 1' FROM log WHERE number IS NULL OR number < 1
    UNION ALL
    SELECT l.cid, l.number, 'prev has ' || coalesce('number ' || coalesce(p.number, c.parent_number), 'no number')
    FROM log l
    JOIN event e USING (cid)
    JOIN child c ON c.id = e.id
    LEFT JOIN log p ON p.cid = CASE WHEN c.parent IS NOT NULL THEN e.prev END
    WHERE l.number <= coalesce(p.number, c.parent_number) OR coalesce(p.number, c.parent_number) IS NULL
) l
LEFT JOIN event e USING (cid);
