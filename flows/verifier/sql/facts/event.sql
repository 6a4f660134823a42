-- What each event is, from its blocks (CERAMIC.md, The four kinds of event): `kind` is null if they can't be read.
CREATE TABLE event AS
SELECT
    e.id,
    e.cid,
    e.root,
    e.number,
    e.is_no_integer,
    e.number IS NOT NULL OR e.is_no_integer AS is_numbered,
    e.number IS NOT NULL OR e.is_no_integer OR l.cid IS NOT NULL AS is_delivered,
    b.number IS NOT NULL OR coalesce(b.is_no_integer, FALSE) AS was_delivered,
    l.cid IS NOT NULL AS is_logged,
    CASE
        WHEN t.multihash IS NOT NULL THEN 'time'
        WHEN d.multihash IS NOT NULL THEN 'data'
        WHEN i.multihash IS NOT NULL AND v.multihash IS NOT NULL THEN 'init'
        WHEN i.multihash IS NOT NULL THEN 'unsigned init'
    END AS kind,
    CASE
        WHEN t.multihash IS NOT NULL THEN t.stream
        WHEN d.multihash IS NOT NULL THEN d.stream
        WHEN i.multihash IS NOT NULL THEN e.cid
    END AS stream,
    CASE
        WHEN t.multihash IS NOT NULL THEN t.prev
        WHEN d.multihash IS NOT NULL THEN d.prev
    END AS prev,
    v.payload,
    v.payload_multihash,
    v.signatures,
    v.capability,
    t.proof,
    t.path
FROM (SELECT *, multihash(cid) AS root FROM stored_event) e
LEFT JOIN block_time t ON t.multihash = e.root
LEFT JOIN (SELECT *, multihash(payload) AS payload_multihash FROM block_envelope) v
    ON v.multihash = CASE WHEN t.multihash IS NULL THEN e.root END
LEFT JOIN block_data d ON d.multihash = v.payload_multihash
LEFT JOIN block_init i ON i.multihash = CASE WHEN v.multihash IS NULL THEN e.root ELSE v.payload_multihash END
LEFT JOIN baseline_event b ON b.cid = e.cid
LEFT JOIN (SELECT DISTINCT cid FROM log) l ON l.cid = e.cid;
