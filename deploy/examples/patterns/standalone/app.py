"""Writes a note and reads the last ones. {{tables.notes}} is "notes".notes on the server."""

import os

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("INSERT INTO {{tables.notes}} (body) VALUES (%s)", ("from Python",))
    for number, body in connection.execute(
            "SELECT id, body FROM {{tables.notes}} ORDER BY id DESC LIMIT 3"):
        print(number, body)
