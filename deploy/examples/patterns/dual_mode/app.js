// The same code for schemux and for PostgreSQL itself; only DATABASE_URL differs:
//   postgresql://app@127.0.0.1:6432/tasks
//   postgresql://app@127.0.0.1:5432/app?options=-csearch_path%3Dtasks
const { Client } = require('pg');

// A library's function: it neither knows nor cares what is behind the client.
async function addTask(client, title) {
  const { rows } = await client.query("SELECT current_setting('search_path') AS via");
  await client.query('INSERT INTO tasks (title, via) VALUES ($1, $2)', [title, rows[0].via]);
}

async function main() {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  await addTask(client, 'from JavaScript');
  const { rows } = await client.query('SELECT id, title FROM tasks ORDER BY id DESC LIMIT 3');
  for (const row of rows) console.log(row.id, row.title);
  await client.end();
}

main().catch((error) => { console.error(error.message); process.exit(1); });
