// Makes two customers and writes an invoice for each. DATABASE_URL names no database: that is what
// tells customers apart.
const { Client } = require('pg');

const customers = ['acme', 'globex'];

async function as(database, work) {
  const client = new Client({ connectionString: `${process.env.DATABASE_URL}/${database}` });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function main() {
  await as('admin', async (client) => {
    for (const customer of customers)
      await client.query('SELECT public.add_customer($1)', [customer]);
  });
  for (const customer of customers) {
    const rows = await as(`customer_${customer}`, async (client) => {
      await client.query('INSERT INTO {{tables.invoices}} (amount) VALUES (20)');
      return (await client.query(
        'SELECT customer, count(*)::int FROM {{tables.invoices}} GROUP BY customer')).rows;
    });
    console.log(customer, JSON.stringify(rows));
  }
}

main().catch((error) => { console.error(error.message); process.exit(1); });
