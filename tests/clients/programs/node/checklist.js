// What the Node.js programs share: where to connect, and the checks run and told line by line.
'use strict';

const assert = require('node:assert');

exports.address = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  database: process.env.PGDATABASE,
};
exports.service = process.env.PGDATABASE;
exports.rows = 100000;
exports.large = 20 * 1024 * 1024;
exports.equal = assert.deepStrictEqual;

/// `state` finds the SQLSTATE in a library's own error.
exports.failsWith = async (sqlstate, promise, state = (error) => error.code) => {
  await assert.rejects(promise, (error) => {
    assert.strictEqual(state(error), sqlstate);
    return true;
  });
};

exports.run = async (checks) => {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`FAIL ${name}: ${String(error.stack).replaceAll('\n', ' | ').slice(0, 600)}`);
      failed = 1;
    }
  }
  process.exit(failed);
};
