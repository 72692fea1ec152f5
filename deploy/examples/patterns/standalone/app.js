// Writes a note and reads the last ones. {{tables.notes}} is "notes".notes on the server.
const { Client } = require('pg');

async function main() {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  await client.query('INSERT INTO {{tables.notes}} (body) VALUES ($1)', ['from JavaScript']);
  const { rows } = await client.query(
    'SELECT id, body FROM {{tables.notes}} ORDER BY id DESC LIMIT 3');
  for (const row of rows) console.log(row.id, row.body);
  await client.end();
}

main().catch((error) => { console.error(error.message); process.exit(1); });
