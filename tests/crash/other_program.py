"""Another program that has the database open, with an SQLite library of its own; run as a script.

    other_program.py DATABASE STATEMENT...

It says `ready`, waits for a line, runs the statements, the first one again and again until no lock
is in its way, says `inside`, waits for another line, and ends its transaction.
"""

import sqlite3
import sys


def main() -> None:
    """Go through the steps above."""
    database, first, *others = sys.argv[1:]
    _say("ready")
    sys.stdin.readline()
    connection = sqlite3.connect(database, timeout=0, isolation_level=None)
    while True:
        try:
            connection.execute(first).fetchall()
        except sqlite3.OperationalError as error:
            # whoever sleeps between two attempts never gets in between the batches of a run
            if "locked" not in str(error):
                raise
        else:
            break
    for statement in others:
        connection.execute(statement).fetchall()
    _say("inside")
    sys.stdin.readline()
    if connection.in_transaction:
        connection.execute("COMMIT")
    connection.close()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
