-- The multihash in a binary CID: what is left behind the version and the codec (of one to three bytes), or all of a CIDv0.
CREATE MACRO multihash(cid) AS array_slice(
    cid,
    CASE
        WHEN cid < '\x01\x00'::BLOB THEN NULL
        WHEN cid < '\x01\x80'::BLOB THEN 3
        WHEN cid < '\x02'::BLOB THEN CASE
            WHEN array_slice(cid, 3, 3) < '\x80'::BLOB THEN 4
            WHEN array_slice(cid, 4, 4) < '\x80'::BLOB THEN 5
        END
        WHEN array_slice(cid, 1, 2) = '\x12\x20'::BLOB THEN 1
    END,
    octet_length(cid)
);
