import marimo

__generated_with = "0.25.2"
app = marimo.App()


@app.cell
def connect():
    import duckdb

    from operators.encoding.cid import cid_text

    log = duckdb.connect()
    log.create_function("cid_text", cid_text, ["BLOB"], "VARCHAR")
    log.execute("CREATE VIEW event AS FROM 'order/order-*.parquet'")
    return (log,)


@app.cell
def longest_streams(log):
    longest = log.sql(
        "SELECT cid_text(stream) AS stream, count(*) AS events FROM event GROUP BY ALL "
        "ORDER BY events DESC, stream LIMIT 3"
    ).fetchall()
    longest
    return (longest,)


@app.cell
def forks(log):
    children = log.sql(
        "SELECT children, count(*) AS events FROM "
        "(SELECT count(*) AS children FROM event GROUP BY prev) GROUP BY children ORDER BY children"
    ).fetchall()
    children
    return (children,)


@app.cell
def parents_first(log):
    wrong = log.sql(
        "SELECT count(*) FROM event AS child JOIN event AS parent ON parent.cid = child.prev "
        "WHERE parent.delivered >= child.delivered"
    ).fetchall()[0][0]
    wrong
    return (wrong,)


if __name__ == "__main__":
    app.run()
