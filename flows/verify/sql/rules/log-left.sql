-- The log lists each event that it leaves undelivered, once, and no other event.
SELECT coalesce(e.cid, l.cid) AS cid, e.number, NULL::BLOB AS related, CASE
    WHEN l.copies > 1 THEN 'listed as undelivered ' || l.copies || ' times'
    WHEN e.id IS NULL THEN 'listed as undelivered, but no event of the database'
    WHEN e.is_delivered THEN 'listed as undelivered, but delivered'
    WHEN l.id IS NOT NULL THEN 'listed as undelivered with rowid ' || l.id || ' instead of ' || e.id
    ELSE 'not delivered, and not listed as undelivered'
END AS detail, FALSE AS in_baseline
FROM (
    SELECT *, count(*) OVER (PARTITION BY cid, unnamed) AS copies
    -- several events of a damaged page may have no CID: only their rowids differ
    FROM (SELECT *, CASE WHEN cid = ''::BLOB THEN id END AS unnamed FROM log_left)
) l
FULL JOIN (SELECT *, CASE WHEN cid = ''::BLOB THEN id END AS unnamed FROM event) e
    ON e.cid = l.cid AND e.unnamed IS NOT DISTINCT FROM l.unnamed
WHERE CASE
    WHEN e.id IS NULL OR l.copies > 1 THEN TRUE
    WHEN e.is_delivered THEN l.id IS NOT NULL
    ELSE l.id IS DISTINCT FROM e.id
END;
