"""A node that is started at a database, as far as locks go; run as a script.

    node.py DATABASE

It opens the database in WAL mode with a busy timeout of 5 seconds, reads the highest number, and
prints it, or what SQLite says.
"""

import sqlite3
import sys
from contextlib import closing


def main() -> None:
    """Start once."""
    try:
        with closing(sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            query = "SELECT max(delivered) FROM ceramic_one_event"
            said = str(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError as error:
        said = str(error)
    sys.stdout.write(said + "\n")


if __name__ == "__main__":
    main()
