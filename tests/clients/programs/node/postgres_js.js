// postgres.js: everything is prepared, and sent without waiting for answers.
'use strict';

const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const postgres = require('postgres');
const { address, service, rows, large, equal, failsWith, run } = require('./checklist.js');

const { user, ...where } = address;

async function withSql(work, more) {
  const sql = postgres({ ...where, username: user, max: 4, onnotice: () => {}, ...more });
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const count = async (sql) => (await sql`SELECT count(*)::int AS n FROM t_postgres`)[0].n;

run({
  async connect() {
    await withSql(async (sql) => equal([...await sql`SELECT service FROM who`], [{ service }]));
  },
  async parameters() {
    await withSql(async (sql) => {
      equal([...await sql`SELECT ${6}::int + 1 AS n, ${'zwölf'} AS t`],
        [{ n: 7, t: 'zwölf' }]);
    });
  },
  async pipelines() {
    for (const prepare of [true, false]) {
      await withSql(async (sql) => {
        const all = await Promise.all(Array.from({ length: 500 }, (_, n) => (n % 10 === 3
          ? sql`SELECT 1 / ${0}::int AS n`.catch((error) => error.code)
          : sql`SELECT service, ${n}::int AS n FROM who`)));
        all.forEach((found, n) => {
          if (n % 10 === 3) equal(found, '22012');
          else equal([...found], [{ service, n }]);
        });
      }, { prepare });
    }
  },
  async transaction() {
    await withSql(async (sql) => {
      await sql`DROP TABLE IF EXISTS t_postgres`;
      await sql`CREATE TABLE t_postgres (id int PRIMARY KEY, body text)`;
      await sql.begin((inside) => inside`INSERT INTO t_postgres VALUES (${1}, ${'one'})`);
      await sql.begin(async (inside) => {
        await inside`INSERT INTO t_postgres VALUES (2, 'two')`;
        throw new Error('roll back');
      }).catch((error) => equal(error.message, 'roll back'));
      equal(await count(sql), 1);
    });
  },
  async error_inside() {
    await withSql(async (sql) => {
      await failsWith('22012', sql.begin(async (inside) => {
        await inside`INSERT INTO t_postgres VALUES (3, 'three')`;
        await failsWith('22012', inside.savepoint((deep) => deep`SELECT 1 / ${0}::int`));
        await failsWith('22012', inside`SELECT 1 / ${0}::int`);
        await failsWith('25P02', inside`SELECT 1`);
      }));
      equal(await count(sql), 1);
    });
  },
  async sqlstates() {
    await withSql(async (sql) => {
      for (const [text, state] of Object.entries({ 'SELECT * FROM nowhere': '42P01',
        'SELECT nothing': '42703', SELEC: '42601', 'INSERT INTO t_postgres VALUES (1)': '23505',
        "SELECT 'x'::int": '22P02' })) {
        await failsWith(state, sql.unsafe(text));
        await failsWith(state, sql.unsafe(text, [], { prepare: true }));
      }
    });
  },
  async copy() {
    await withSql(async (sql) => {
      const lines = Array.from({ length: 5000 }, (_, n) => `${n + 10}\trow\n`);
      await pipeline(Readable.from(lines), await sql`COPY t_postgres FROM STDIN`.writable());
      let text = '';
      const out = await sql`COPY (SELECT * FROM t_postgres WHERE id >= 10 ORDER BY id) TO STDOUT`
        .readable();
      for await (const chunk of out) text += chunk;
      equal(text, lines.join(''));
    });
  },
  async cursor() {
    await withSql(async (sql) => {
      let sum = 0;
      await sql`SELECT n FROM generate_series(1, ${rows}::int) n`.cursor(1000, (read) => {
        for (const row of read) sum += row.n;
      });
      equal(sum, rows * (rows + 1) / 2);
    });
  },
  async cancel() {
    await withSql(async (sql) => {
      for (let round = 0; round < 5; round++) {
        const sleeping = sql`SELECT pg_sleep(60)`.execute();
        const ended = failsWith('57014', sleeping);
        let waiting = true;
        ended.finally(() => { waiting = false; }).catch(() => {});
        while (waiting) {
          await new Promise((done) => { setTimeout(done, 50); });
          if (waiting) sleeping.cancel();
        }
        await ended;
      }
      equal((await sql`SELECT 7 AS n`)[0].n, 7);
    }, { max: 1 });
  },
  async large_result() {
    await withSql(async (sql) => {
      const found = await sql`SELECT n FROM generate_series(1, ${rows}::int) n`;
      equal(found.reduce((sum, row) => sum + row.n, 0), rows * (rows + 1) / 2);
    });
  },
  async large_value() {
    await withSql(async (sql) => {
      const [{ t }] = await sql`SELECT repeat('x', ${large}::int) AS t`;
      equal(t.length, large);
      equal((await sql`SELECT length(${t}) AS n`)[0].n, large);
    });
  },
  async listen() {
    await withSql(async (sql) => {
      let hear;
      const heard = new Promise((resolve) => { hear = resolve; });
      await sql.listen(`js_${service}`, hear);
      await sql.notify(`js_${service}`, 'payload');
      const late = new Promise((_, reject) => { setTimeout(reject, 3000, new Error('none')); });
      equal(await Promise.race([heard, late]), 'payload');
    });
  },
  async reconnect() {
    for (let n = 0; n < 10; n++) {
      await withSql(async (sql) => equal((await sql`SELECT ${n}::int AS n`)[0].n, n));
    }
  },
});
