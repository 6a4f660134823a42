-- The multihash in a binary CID: what is left behind the version and the codec (one to three bytes), or all of a CIDv0.
CREATE MACRO multihash(cid) AS CASE
    WHEN array_slice(cid, 1, 1) = '\x01'::BLOB THEN CASE
        WHEN array_slice(cid, 2, 2) < '\x80'::BLOB THEN array_slice(cid, 3, octet_length(cid))
        WHEN array_slice(cid, 3, 3) < '\x80'::BLOB THEN array_slice(cid, 4, octet_length(cid))
        WHEN array_slice(cid, 4, 4) < '\x80'::BLOB THEN array_slice(cid, 5, octet_length(cid))
    END
    WHEN array_slice(cid, 1, 2) = '\x12\x20'::BLOB THEN cid
END;
