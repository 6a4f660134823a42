-- The bytes of every block have the hash that its multihash names. There is a row for each event
-- that lists the block as DAG-CBOR or DAG-JOSE, and one row without an event if none does.
SELECT e.cid, e.number, w.cid AS related, w.detail, w.was_there AS in_baseline
FROM (
    SELECT
        listed_cid(113, w.multihash) AS cid,
        w.detail,
        (SELECT baseline FROM given) AND c.id IS NULL AS was_there,
        unnest([hash(listed_cid(113, w.multihash)), hash(listed_cid(133, w.multihash))]) AS block
    FROM wrong_hash w
    LEFT JOIN change c ON c.id = w.id AND c.table_name = 'ceramic_one_block'
) w
LEFT JOIN listed l ON l.block = w.block
LEFT JOIN event e ON hash(e.cid) = l.event
QUALIFY e.cid IS NOT NULL
OR row_number() OVER (PARTITION BY w.detail ORDER BY e.cid NULLS LAST) = 1;
