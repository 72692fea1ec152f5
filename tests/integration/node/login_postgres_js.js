// postgres.js logs in as the environment says (drivers_login_test.py), asks whose table it sees and
// prints the answer.
'use strict';

const fs = require('fs');
const postgres = require('postgres');

const { HOST, PORT, LOGIN, PASSWORD, SSLMODE, ROOT, CERT, KEY } = process.env;

async function main() {
  const encrypted = {
    rejectUnauthorized: SSLMODE === 'verify-full',
    ca: fs.readFileSync(ROOT),
    cert: CERT ? fs.readFileSync(CERT) : undefined,
    key: KEY ? fs.readFileSync(KEY) : undefined,
  };
  const sql = postgres({
    host: HOST, port: Number(PORT), username: LOGIN, password: PASSWORD, database: 'users', max: 1,
    ssl: SSLMODE === 'disable' ? false : encrypted,
  });
  const [row] = await sql`SELECT service FROM {{tables.who}}`;
  await sql.end();
  console.log(row.service);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
