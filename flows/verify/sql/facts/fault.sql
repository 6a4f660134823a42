-- Why the node could not serve an event, one row for each reason (FORMAT.md, What a node needs to
-- serve an event). `cid` is the block's.
CREATE VIEW block AS
SELECT multihash, NULL AS why FROM block_time
UNION ALL SELECT multihash, NULL FROM block_envelope
UNION ALL SELECT multihash, NULL FROM block_data
UNION ALL SELECT multihash, NULL FROM block_init
UNION ALL SELECT multihash, NULL FROM block_proof
UNION ALL SELECT multihash, NULL FROM block_capability
UNION ALL SELECT multihash, NULL FROM block_node
UNION ALL SELECT multihash, why FROM block_other;

CREATE TABLE fault AS
SELECT id, 'missing' AS fault, cid, role || ' block' AS detail
FROM unfit ANTI JOIN block USING (multihash);

INSERT INTO fault
SELECT DISTINCT u.id, 'unreadable', u.cid,
    u.role || ' block: ' || coalesce(b.why, 'of another kind of block')
FROM unfit u JOIN block b USING (multihash);

INSERT INTO fault
SELECT id, 'unreadable', cid, 'root block: a node would write it with another CID'
FROM event
WHERE kind = 'time'
AND NOT (is_encoded_alike AND cid BETWEEN '\x01\x71'::BLOB AND '\x01\x72'::BLOB);

INSERT INTO fault
SELECT n.id, 'unlisted', n.cid, n.role || ' block'
FROM (
    SELECT n.id, n.role, n.cid
    FROM need n
    ANTI JOIN listed l ON l.event = n.event AND l.block = hash(n.cid)
) n
ANTI JOIN (SELECT id, cid FROM fault WHERE fault = 'missing') m ON m.id = n.id AND m.cid = n.cid;

INSERT INTO fault
SELECT e.id, 'root', e.cid, 'the flag `root` of a listed block is wrong'
FROM event e
SEMI JOIN (SELECT event FROM listed WHERE is_root_wrong) l ON l.event = hash(e.cid)
ANTI JOIN (SELECT id, cid FROM fault WHERE fault = 'unlisted') u ON u.id = e.id AND u.cid = e.cid;

INSERT INTO fault
SELECT id, 'unreadable', cid, 'a row of its list: it has no codec or multihash'
FROM event SEMI JOIN (SELECT event FROM listed WHERE is_unreadable) l ON l.event = hash(cid);

INSERT INTO fault
SELECT id, 'order key', NULL, 'no event id in `order_key`' FROM event WHERE NOT has_event_id;

INSERT INTO fault
SELECT id, 'unsigned', NULL, 'no signature in the envelope' FROM event WHERE signatures = 0;

INSERT INTO fault
SELECT e.id, 'unproven', e.prev, 'path `' || e.path || '`'
FROM event e
SEMI JOIN witness w ON w.id = e.id
ANTI JOIN (SELECT id FROM unfit WHERE role = 'witness node') u ON u.id = e.id
ANTI JOIN (SELECT id, cid FROM witness WHERE is_end) w ON w.id = e.id AND w.cid = e.prev;
