// The orders' service. It may name users' tables too: allow_schemas says so.
const { Pool } = require('pg');

async function main() {
  // A pool in front of the pool costs schemux a connection each, and PostgreSQL nothing.
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
  await pool.query(
    `INSERT INTO {{tables.orders}} (user_id, total)
     SELECT id, $1 FROM {{tables.users.users}} WHERE email = $2`, [42, 'alice@example.com']);
  const { rows } = await pool.query(
    `SELECT u.email, count(*)::int AS orders, max(o.total) AS total
     FROM {{tables.orders}} o JOIN {{tables.users.users}} u ON u.id = o.user_id GROUP BY u.email`);
  for (const row of rows) console.log(row.email, row.orders, row.total);
  await pool.end();
}

main().catch((error) => { console.error(error.message); process.exit(1); });
