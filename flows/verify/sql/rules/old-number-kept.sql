-- An event that was delivered in the baseline has the number it had.
SELECT e.cid, e.number, NULL::BLOB AS related, 'was number ' || b.number AS detail, FALSE AS in_baseline
FROM baseline_event b
JOIN event e USING (cid)
WHERE b.number IS NOT NULL AND e.number IS DISTINCT FROM b.number;
