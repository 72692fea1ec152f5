// node-postgres logs in as the environment says (drivers_login_test.py), asks whose table it sees
// and prints the answer; with BINDING=require it fails where SCRAM was not bound to the channel.
'use strict';

const fs = require('fs');
const pg = require('pg');

const { HOST, PORT, LOGIN, PASSWORD, SSLMODE, ROOT, CERT, KEY, BINDING } = process.env;

function encryption() {
  if (SSLMODE === 'disable') return false;
  return {
    rejectUnauthorized: SSLMODE === 'verify-full',
    ca: fs.readFileSync(ROOT),
    cert: CERT ? fs.readFileSync(CERT) : undefined,
    key: KEY ? fs.readFileSync(KEY) : undefined,
  };
}

async function main() {
  const client = new pg.Client({
    host: HOST, port: Number(PORT), user: LOGIN, password: PASSWORD, database: 'users',
    ssl: encryption(), enableChannelBinding: BINDING === 'require',
  });
  let mechanism = 'none';
  client.connection.on('authenticationSASLContinue', () => {
    mechanism = client.saslSession.mechanism;
  });
  await client.connect();
  const { rows } = await client.query('SELECT service FROM {{tables.who}}');
  await client.end();
  if (BINDING === 'require' && mechanism !== 'SCRAM-SHA-256-PLUS') throw new Error(mechanism);
  console.log(rows[0].service);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
