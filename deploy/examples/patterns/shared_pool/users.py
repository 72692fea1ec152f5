"""The users' service: it knows its own tables alone."""

import os

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("INSERT INTO {{tables.users}} (email) VALUES (%s) ON CONFLICT DO NOTHING",
                       ("alice@example.com",))
    for number, email in connection.execute("SELECT id, email FROM {{tables.users}} ORDER BY id"):
        print(number, email)
