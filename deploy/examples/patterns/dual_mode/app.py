"""The same code for schemux and for PostgreSQL itself; only DATABASE_URL differs:
    postgresql://app@127.0.0.1:6432/tasks
    postgresql://app@127.0.0.1:5432/app?options=-csearch_path%3Dtasks
"""

import os

import psycopg


def add_task(connection, title):
    """A library's function: it neither knows nor cares what is behind the connection."""
    via = connection.execute("SELECT current_setting('search_path')").fetchone()[0]
    connection.execute("INSERT INTO tasks (title, via) VALUES (%s, %s)", (title, via))


with psycopg.connect(os.environ["DATABASE_URL"]) as session:
    add_task(session, "from Python")
    for number, text in session.execute("SELECT id, title FROM tasks ORDER BY id DESC LIMIT 3"):
        print(number, text)
