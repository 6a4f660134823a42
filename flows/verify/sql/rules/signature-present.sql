-- The envelope of a delivered event has a signature.
SELECT e.cid, e.number, f.cid AS related, f.detail, e.was_delivered AS in_baseline
FROM fault f
JOIN event e USING (id)
WHERE f.fault = 'unsigned' AND e.is_delivered;
