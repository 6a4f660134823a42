-- An event that was delivered in the baseline still has the number, or other value, that it had.
SELECT
    e.cid,
    e.number,
    NULL::BLOB AS related,
    'was number ' || b.was AS detail,
    FALSE AS in_baseline
FROM (
    SELECT b.id, b.number::VARCHAR AS was
    FROM baseline_event b
    JOIN event e USING (cid)
    WHERE b.number IS NOT NULL AND e.number IS DISTINCT FROM b.number
    UNION ALL
    SELECT b.id, b.value
    FROM baseline_other_number b
    LEFT JOIN other_number o USING (id)
    WHERE o.value IS DISTINCT FROM b.value
) b
JOIN event e USING (id);
