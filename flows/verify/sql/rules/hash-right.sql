-- The bytes of every block have the hash that its multihash names. An event is named for each event that lists the block.
SELECT e.cid, e.number, '\x01\x71'::BLOB || w.multihash AS related, w.detail, w.was_there AS in_baseline
FROM (
    SELECT w.multihash, w.detail, (SELECT baseline FROM given) AND c.id IS NULL AS was_there
    FROM wrong_hash w
    LEFT JOIN change c ON c.id = w.id AND c.table_name = 'ceramic_one_block'
) w
LEFT JOIN listed l ON l.block = hash(w.multihash)
LEFT JOIN event e ON hash(e.cid) = l.event;
