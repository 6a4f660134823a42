-- The log and the database hold the same deliveries. Either the log was made from this database,
-- and none of its events is delivered there; or a run has delivered them all, perhaps with other
-- numbers, since several orders are right. In both cases no other event has the log's first number
-- or a larger one. With a baseline, the log names all events that were delivered since, and no
-- other.
SELECT e.cid, e.number, NULL::BLOB AS related, d.detail, FALSE AS in_baseline
FROM event e
JOIN (
    SELECT id, 'in the log, but not delivered' AS detail FROM event
    WHERE is_logged AND NOT is_numbered AND (SELECT bool_or(is_numbered) FROM event WHERE is_logged)
    UNION ALL
    SELECT id, 'delivered since, but not in the log' FROM event
    WHERE is_numbered AND NOT is_logged
    AND (number >= (SELECT min(number) FROM log)
        OR (NOT was_delivered AND (SELECT baseline FROM given)))
    UNION ALL
    SELECT id, 'in the log, but delivered before it' FROM event WHERE is_logged AND was_delivered
) d USING (id);
