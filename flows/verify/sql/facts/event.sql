-- What each event is, from its blocks (FORMAT.md, The four kinds of event); `kind` is null if they
-- can't be read. Each statement has one large join: DuckDB holds a part of every table that a
-- statement joins, so several joins in one would need far more memory.
CREATE TABLE found AS
SELECT
    e.*,
    multihash(e.cid) AS root,
    e.number IS NOT NULL OR e.is_no_integer AS is_numbered,
    b.number IS NOT NULL OR coalesce(b.is_no_integer, FALSE) AS was_delivered,
    l.cid IS NOT NULL AS is_logged
FROM stored_event e
LEFT JOIN baseline_event b ON b.cid = e.cid
LEFT JOIN (SELECT DISTINCT cid FROM log) l ON l.cid = e.cid;
DROP TABLE stored_event;

CREATE TABLE timed AS
SELECT f.*, t.multihash IS NOT NULL AS is_time, t.stream, t.prev, t.proof, t.path,
    t.is_encoded_alike
FROM found f
LEFT JOIN block_time t ON t.multihash = f.root;
DROP TABLE found;

CREATE TABLE signed AS
SELECT
    t.*,
    v.multihash IS NOT NULL AS is_signed,
    v.payload,
    multihash(v.payload) AS payload_multihash,
    v.signatures,
    v.capability
FROM timed t
LEFT JOIN block_envelope v ON v.multihash = t.root AND NOT t.is_time;
DROP TABLE timed;

CREATE TABLE event AS
SELECT
    s.id,
    s.cid,
    s.root,
    s.number,
    s.is_no_integer,
    s.has_event_id,
    s.is_numbered,
    s.is_numbered OR s.is_logged AS is_delivered,
    s.was_delivered,
    s.is_logged,
    CASE
        WHEN s.is_time THEN 'time'
        WHEN d.multihash IS NOT NULL THEN 'data'
        WHEN i.multihash IS NOT NULL AND s.is_signed THEN 'init'
        WHEN i.multihash IS NOT NULL THEN 'unsigned init'
    END AS kind,
    CASE
        WHEN s.is_time THEN s.stream
        WHEN d.multihash IS NOT NULL THEN d.stream
        WHEN i.multihash IS NOT NULL THEN s.cid
    END AS stream,
    coalesce(s.prev, d.prev) AS prev,
    s.payload,
    s.payload_multihash,
    s.signatures,
    s.capability,
    s.proof,
    s.path,
    s.is_encoded_alike
FROM signed s
LEFT JOIN block_data d ON d.multihash = s.payload_multihash
LEFT JOIN block_init i
    ON i.multihash = CASE WHEN s.is_signed THEN s.payload_multihash ELSE s.root END;
DROP TABLE signed;
