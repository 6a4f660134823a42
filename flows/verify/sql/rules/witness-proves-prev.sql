-- The path of a delivered time event leads from the root of its proof to its prev.
SELECT e.cid, e.number, f.cid AS related, f.detail, e.was_delivered AS in_baseline
FROM fault f
JOIN event e USING (id)
WHERE f.fault = 'unproven' AND e.is_delivered;
