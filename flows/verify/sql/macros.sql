-- Where the number of at most 64 bits ends with which a value begins: seven bits a byte, and only
-- its last byte is below 0x80. NULL: it does not end.
CREATE MACRO varint_end(bytes) AS CASE
    WHEN array_slice(bytes, 1, 1) < '\x80'::BLOB THEN 1
    WHEN array_slice(bytes, 2, 2) < '\x80'::BLOB THEN 2
    WHEN array_slice(bytes, 3, 3) < '\x80'::BLOB THEN 3
    WHEN array_slice(bytes, 4, 4) < '\x80'::BLOB THEN 4
    WHEN array_slice(bytes, 5, 5) < '\x80'::BLOB THEN 5
    WHEN array_slice(bytes, 6, 6) < '\x80'::BLOB THEN 6
    WHEN array_slice(bytes, 7, 7) < '\x80'::BLOB THEN 7
    WHEN array_slice(bytes, 8, 8) < '\x80'::BLOB THEN 8
    WHEN array_slice(bytes, 9, 9) < '\x80'::BLOB THEN 9
    WHEN array_slice(bytes, 10, 10) < '\x02'::BLOB THEN 10
END;

-- Where in a binary CID the multihash begins: after the version and the codec.
CREATE MACRO multihash_start(cid) AS CASE
    WHEN cid >= '\x01\x00'::BLOB AND cid < '\x01\x80'::BLOB THEN 3
    WHEN cid >= '\x01'::BLOB AND cid < '\x02'::BLOB THEN 2 + varint_end(array_slice(cid, 2, 11))
END;

-- The multihash in a binary CID; a CID of version 0 is nothing else.
CREATE MACRO multihash(cid) AS CASE
    WHEN array_slice(cid, 1, 2) = '\x12\x20'::BLOB THEN cid
    ELSE array_slice(cid, multihash_start(cid), octet_length(cid))
END;

-- Whether a value is one multihash that a node can read: its digest has at most 64 bytes.
CREATE MACRO is_multihash(bytes) AS CASE
    WHEN octet_length(bytes) = 34 AND array_slice(bytes, 1, 2) = '\x12\x20'::BLOB THEN true
    ELSE coalesce(
        octet_length(bytes) - varint_end(bytes) - 1 BETWEEN 0 AND 64
        AND array_slice(bytes, varint_end(bytes) + 1, varint_end(bytes) + 1)
            = unhex(printf('%02x', octet_length(bytes) - varint_end(bytes) - 1))
        AND (varint_end(bytes) = 1
            OR array_slice(bytes, varint_end(bytes), varint_end(bytes)) <> '\x00'::BLOB),
        false
    )
END;

-- A number in seven bits a byte, the lowest first; all bytes but the last have 0x80 set.
CREATE MACRO varint(number) AS unhex(array_to_string(list_transform(
    range(0, (length(bin(number)) + 6) // 7),
    LAMBDA place: printf('%02x',
        ((number >> (7 * place)) & 127)
        + CASE WHEN place + 1 < (length(bin(number)) + 6) // 7 THEN 128 ELSE 0 END)
), ''));

-- The CID under which the node finds a block that is listed with this codec.
CREATE MACRO listed_cid(codec, block) AS CASE codec
    WHEN 113 THEN '\x01\x71'::BLOB
    WHEN 133 THEN '\x01\x85\x01'::BLOB
    ELSE '\x01'::BLOB || varint(codec)
END || block;
