-- Counts in the files of the log what the fields of its document say; `None` stands for null.
INSERT INTO log_found
SELECT 'delivered', count(*)::VARCHAR FROM log
UNION ALL SELECT 'first_number', coalesce(min(number)::VARCHAR, 'None') FROM log
UNION ALL SELECT 'last_number', coalesce(max(number)::VARCHAR, 'None') FROM log
UNION ALL SELECT 'waiting', count(*)::VARCHAR FROM log_left WHERE list = 'waiting'
UNION ALL SELECT 'rejected', count(*)::VARCHAR FROM log_left WHERE list = 'rejected'
UNION ALL SELECT 'reason ' || reason, count(*)::VARCHAR FROM log_left GROUP BY reason;

-- The order digest, by the definition in flows/cli/README.md: not by the code that wrote the
-- document.
INSERT INTO log_found
WITH hashed AS (
    SELECT sha256(l.stream || l.cid || coalesce(l.prev, ''::BLOB) || CASE
        WHEN p.cid IS NULL THEN '-'::BLOB
        WHEN p.number < l.number THEN '1'::BLOB
        ELSE '0'::BLOB
    END) AS hash
    FROM log l
    LEFT JOIN log p ON p.cid = l.prev
), added AS (
    SELECT part, coalesce(sum(('0x' || hash[16 * part + 1:16 * part + 16])::UBIGINT), 0) AS total
    FROM (SELECT unnest([0, 1, 2, 3]) AS part) parts
    LEFT JOIN hashed ON TRUE
    GROUP BY part
)
SELECT
    'order_digest',
    string_agg(printf('%016x', (total % 18446744073709551616)::UBIGINT), '' ORDER BY part)
FROM added;
