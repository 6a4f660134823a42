"""Bytes: CIDs, DAG-CBOR, the layouts that nodes write, and columns of bytes."""
