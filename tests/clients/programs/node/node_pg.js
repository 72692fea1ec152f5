// node-postgres: queries by text and by name, its pool, cursors, streams of COPY.
'use strict';

const { pipeline } = require('node:stream/promises');
const { Readable, Writable } = require('node:stream');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const { from, to } = require('pg-copy-streams');
const { address, service, rows, large, equal, failsWith, run } = require('./checklist.js');

async function withClient(work, more) {
  const client = new Client({ ...address, ...more });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

const count = async (client) => (await client.query('SELECT count(*)::int n FROM t_pg')).rows[0].n;

run({
  async connect() {
    await withClient(async (client) => {
      equal((await client.query('SELECT service FROM who')).rows, [{ service }]);
    });
  },
  async parameters() {
    await withClient(async (client) => {
      const found = await client.query('SELECT $1::int + 1 AS n, $2 AS t', [6, 'zwölf']);
      equal(found.rows, [{ n: 7, t: 'zwölf' }]);
    });
  },
  async prepared() {
    const pool = new Pool({ ...address, max: 4 });
    const all = await Promise.all(Array.from({ length: 200 }, (_, n) => pool.query({
      name: 'mine', text: 'SELECT service, $1::int AS n FROM who', values: [n] })));
    all.forEach((found, n) => equal(found.rows, [{ service, n }]));
    await pool.end();
  },
  async transaction() {
    await withClient(async (client) => withClient(async (other) => {
      await client.query('DROP TABLE IF EXISTS t_pg');
      await client.query('CREATE TABLE t_pg (id int PRIMARY KEY, body text)');
      for (const [id, end] of [[1, 'COMMIT'], [2, 'ROLLBACK']]) {
        await client.query('BEGIN');
        await client.query('INSERT INTO t_pg VALUES ($1, $2)', [id, 'body']);
        await client.query(end);
        equal(await count(other), 1);
      }
    }));
  },
  async error_inside() {
    await withClient(async (client) => {
      await client.query('BEGIN');
      await client.query("INSERT INTO t_pg VALUES (3, 'three')");
      await failsWith('22012', client.query('SELECT 1 / $1::int', [0]));
      await failsWith('25P02', client.query('SELECT 1'));
      await client.query('ROLLBACK');
      equal(await count(client), 1);
    });
  },
  async sqlstates() {
    await withClient(async (client) => {
      for (const [text, state] of Object.entries({ 'SELECT * FROM nowhere': '42P01',
        'SELECT nothing': '42703', SELEC: '42601', 'INSERT INTO t_pg VALUES (1)': '23505',
        "SELECT 'x'::int": '22P02' })) {
        await failsWith(state, client.query(text));
        await failsWith(state, client.query({ text, values: [], queryMode: 'extended' }));
      }
    });
  },
  async copy() {
    await withClient(async (client) => {
      const lines = Array.from({ length: 5000 }, (_, n) => `${n + 10}\trow\n`);
      await pipeline(Readable.from(lines), client.query(from('COPY t_pg FROM STDIN')));
      let text = '';
      const sink = new Writable({ write(chunk, _encoding, done) { text += chunk; done(); } });
      await pipeline(
        client.query(to('COPY (SELECT * FROM t_pg WHERE id >= 10 ORDER BY id) TO STDOUT')), sink);
      equal(text, lines.join(''));
      await failsWith('22P02', pipeline(Readable.from(['x\ty\n']),
        client.query(from('COPY t_pg FROM STDIN'))));
      equal(await count(client), 5001);
    });
  },
  async cursor() {
    await withClient(async (client) => {
      await client.query('BEGIN');
      const cursor = client.query(new Cursor(`SELECT n FROM generate_series(1, ${rows}) n`));
      let sum = 0;
      for (let read = await cursor.read(999); read.length; read = await cursor.read(999)) {
        for (const row of read) sum += row.n;
      }
      await cursor.close();
      await client.query('COMMIT');
      equal(sum, rows * (rows + 1) / 2);
    });
  },
  async cancel() {
    await withClient(async (client) => {
      for (let round = 0; round < 15; round++) {
        const ended = failsWith('57014', client.query('SELECT pg_sleep(60)'));
        let waiting = true;
        ended.finally(() => { waiting = false; }).catch(() => {});
        while (waiting) {
          new Client(address).cancel(client, client._getActiveQuery?.() ?? client.activeQuery);
          await Promise.race([ended, new Promise((done) => setTimeout(done, 50))]);
        }
        await ended;
        equal((await client.query('SELECT 7 AS n')).rows, [{ n: 7 }]);
      }
    });
  },
  async large_result() {
    await withClient(async (client) => {
      const found = await client.query(`SELECT n FROM generate_series(1, ${rows}) n`);
      equal(found.rows.reduce((sum, row) => sum + row.n, 0), rows * (rows + 1) / 2);
    });
  },
  async large_value() {
    await withClient(async (client) => {
      const found = await client.query(`SELECT repeat('x', ${large}) AS t`);
      equal(found.rows[0].t.length, large);
      const sent = await client.query('SELECT length($1) AS n', [found.rows[0].t]);
      equal(sent.rows, [{ n: large }]);
    });
  },
  async settings() {
    await withClient(async (client) => {
      for (let round = 0; round < 5; round++) {
        equal((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '43210ms');
        equal((await client.query('SHOW application_name')).rows[0].application_name, 'checks');
      }
    }, { statement_timeout: 43210, application_name: 'checks' });
  },
  async notification() {
    await withClient(async (client) => {
      const heard = new Promise((resolve) => { client.once('notification', resolve); });
      await client.query(`LISTEN node_${service}`);
      await withClient((other) => other.query(`NOTIFY node_${service}, 'payload'`));
      const late = new Promise((_, reject) => { setTimeout(reject, 3000, new Error('none')); });
      equal((await Promise.race([heard, late])).payload, 'payload');
    });
  },
  async reconnect() {
    for (let n = 0; n < 10; n++) {
      await withClient(async (client) => {
        equal((await client.query('SELECT $1::int AS n', [n])).rows, [{ n }]);
      });
    }
  },
});
