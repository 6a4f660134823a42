-- A number that is not in the baseline is above all that are.
SELECT
    e.cid,
    e.number,
    NULL::BLOB AS related,
    'the baseline has numbers up to ' || old.highest AS detail,
    FALSE AS in_baseline
FROM event e, (SELECT max(number) AS highest FROM baseline_event) old
WHERE NOT e.was_delivered AND e.number <= old.highest;
