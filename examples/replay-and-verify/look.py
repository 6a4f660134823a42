"""Ask the log in order/ with DuckDB: longest streams, forks, and the order in one stream."""

import duckdb

from operators.encoding.cid import cid_text

log = duckdb.connect()
log.create_function("cid_text", cid_text, ["BLOB"], "VARCHAR")
log.execute("CREATE VIEW event AS FROM 'order/order-*.parquet'")


def show(title: str, query: str) -> None:
    """Print what a query finds."""
    print(title)
    log.sql(query).show(max_width=120)


show(
    "The longest streams:",
    "SELECT cid_text(stream) AS stream, count(*) AS events FROM event "
    "GROUP BY ALL ORDER BY events DESC, stream LIMIT 3",
)

show(
    "Events with so many children:",
    """
    SELECT children, count(*) AS events
    FROM (SELECT count(*) AS children FROM event GROUP BY prev) GROUP BY children ORDER BY children
    """,
)

show(
    "One stream, in delivered order, by the last letters of its CIDs:",
    """
    WITH stream AS (
        SELECT stream FROM event GROUP BY stream HAVING count(*) = count(DISTINCT prev)
        ORDER BY count(*) DESC, stream LIMIT 1
    )
    SELECT row_number() OVER (ORDER BY delivered) AS place, kind,
           right(cid_text(cid), 8) AS event, right(cid_text(prev), 8) AS prev
    FROM event SEMI JOIN stream USING (stream) ORDER BY place
    """,
)
