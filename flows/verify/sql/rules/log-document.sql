-- The files of the log are those that its document names, and hold what it says.
SELECT
    NULL::BLOB AS cid,
    NULL::BIGINT AS number,
    NULL::BLOB AS related,
    coalesce(s.what, f.what) || ': ' || coalesce(f.value, 'missing')
    || coalesce(', but the document says ' || s.value, ', which the document does not say')
        AS detail,
    FALSE AS in_baseline
FROM log_said s
FULL JOIN log_found f ON f.what = s.what
WHERE s.value IS DISTINCT FROM f.value AND (SELECT count(*) > 0 FROM log_said);
