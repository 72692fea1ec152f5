"""Makes two customers and writes an invoice for each. DATABASE_URL names no database: that is what
tells customers apart."""

import os

import psycopg

URL = os.environ["DATABASE_URL"]
CUSTOMERS = ("acme", "globex")

with psycopg.connect(f"{URL}/admin") as connection:
    for customer in CUSTOMERS:
        connection.execute("SELECT public.add_customer(%s)", (customer,))
for customer in CUSTOMERS:
    with psycopg.connect(f"{URL}/customer_{customer}") as connection:
        connection.execute("INSERT INTO {{tables.invoices}} (amount) VALUES (10)")
        row = connection.execute("SELECT customer, count(*) FROM {{tables.invoices}} "
                                 "GROUP BY customer").fetchall()
        print(customer, row)
