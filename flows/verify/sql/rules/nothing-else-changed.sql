-- No table holds anything else than in the baseline, the column `delivered` apart.
SELECT DISTINCT
    cid,
    NULL::BIGINT AS number,
    NULL::BLOB AS related,
    table_name || coalesce(' row ' || id, '') || ': ' || detail AS detail,
    FALSE AS in_baseline
FROM change;
