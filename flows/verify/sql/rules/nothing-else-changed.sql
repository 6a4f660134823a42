-- Nothing in any table differs from the baseline but the column `delivered`.
SELECT DISTINCT
    cid,
    NULL::BIGINT AS number,
    NULL::BLOB AS related,
    table_name || coalesce(' row ' || id, '') || ': ' || detail AS detail,
    FALSE AS in_baseline
FROM change;
