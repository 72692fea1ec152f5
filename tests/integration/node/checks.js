// One check of a Node.js driver: `node checks.js NAME PORT`. Exit status 0 when it holds.
'use strict';

const assert = require('node:assert');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const postgres = require('postgres');

const port = Number(process.argv[3]);
const services = ['users', 'orders', 'legacy'];

function address(service, more) {
  return { host: '127.0.0.1', port, user: 'alice', database: service, ...more };
}

async function withClient(service, work, more) {
  const client = new Client(address(service, more));
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function withSql(service, work, more) {
  const sql = postgres(address(service, { max: 4, onnotice: () => {}, ...more }));
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const checks = {
  async pg_simple_and_parametrised() {
    for (const service of services) {
      await withClient(service, async (client) => {
        const simple = await client.query('SELECT service FROM {{tables.who}}');
        assert.deepStrictEqual(simple.rows, [{ service }]);
        const text = 'SELECT service, $1::int AS n, $2::text AS t FROM <<tables.who>>';
        const found = await client.query(text, [7, 'zwölf']);
        assert.deepStrictEqual(found.rows, [{ service, n: 7, t: 'zwölf' }]);
      });
    }
  },

  async pg_named_prepared() {
    const clients = await Promise.all([...services, ...services].map(async (service) => {
      const client = new Client(address(service));
      await client.connect();
      return client;
    }));
    for (let round = 0; round < 20; round++) {
      await Promise.all(clients.map(async (client, index) => {
        const text = 'SELECT service, $1::int AS n FROM {{tables.who}}';
        const found = await client.query({ name: 'same name', text, values: [round] });
        assert.deepStrictEqual(found.rows, [{ service: services[index % 3], n: round }]);
      }));
    }
    await Promise.all(clients.map((client) => client.end()));
  },

  async pg_transaction_and_error() {
    await withClient('users', async (client) => {
      await client.query('BEGIN');
      await client.query("INSERT INTO {{tables.ledger}} VALUES ('node')");
      await assert.rejects(client.query('SELECT nothing FROM {{tables.who}}'),
        (error) => error.code === '42703' && error.position === '8');
      await client.query('ROLLBACK');
      const found = await client.query('SELECT count(*)::int AS n FROM ledger');
      assert.deepStrictEqual(found.rows, [{ n: 0 }]);
    });
  },

  async pg_cursor() {
    await withClient('users', async (client) => {
      await client.query('BEGIN');
      const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, 250) n'));
      let all = [];
      for (;;) {
        const rows = await cursor.read(100);
        if (rows.length === 0) break;
        all = all.concat(rows.map((row) => row.n));
      }
      await cursor.close();
      await client.query('COMMIT');
      assert.deepStrictEqual(all, Array.from({ length: 250 }, (_, n) => n + 1));
    });
  },

  async pg_pool() {
    const pool = new Pool(address('orders', { max: 10 }));
    const all = await Promise.all(Array.from({ length: 500 }, (_, n) =>
      pool.query('SELECT service, $1::int AS n FROM {{tables.who}}', [n])));
    all.forEach((found, n) => assert.deepStrictEqual(found.rows, [{ service: 'orders', n }]));
    await pool.end();
  },

  async pg_pool_with_settings() {
    const zones = { users: 'Asia/Tokyo', orders: 'Europe/Paris', legacy: 'America/New_York' };
    const pools = services.map((service) => {
      const pool = new Pool(address(service, { max: 4, statement_timeout: 54321 }));
      pool.on('connect', (client) => {
        client.query(`SET TIME ZONE '${zones[service]}'`);
        client.query("SELECT set_config('app.tenant', $1, false)", [service]);
      });
      return pool;
    });
    const look = `SELECT service, current_setting('app.tenant') AS tenant,
      current_setting('TimeZone') AS zone, current_setting('work_mem') AS work_mem,
      current_setting('statement_timeout') AS timeout FROM who`;
    await Promise.all(pools.map((pool, at) => Promise.all(Array.from({ length: 60 }, async () => {
      const service = services[at];
      const expected = { service, tenant: service, zone: zones[service], work_mem: '4MB',
        timeout: '54321ms' };
      assert.deepStrictEqual((await pool.query(look)).rows, [expected]);
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        await client.query("SET LOCAL work_mem = '9MB'");
        const named = { name: 'look', text: look };
        const changed = { ...expected, work_mem: '9MB' };
        assert.deepStrictEqual((await client.query(named)).rows, [changed]);
        await client.query("SET app.tenant = 'undone'");
        await client.query('ROLLBACK');
        assert.deepStrictEqual((await client.query(named)).rows, [expected]);
      } finally {
        client.release();
      }
    }))));
    await Promise.all(pools.map((pool) => pool.end()));
  },

  async pg_cancel() {
    // As pg itself does: a second connection that sends the request and closes at once.
    await withClient('users', async (client) => {
      for (let round = 0; round < 15; round++) {
        const sleeping = client.query('SELECT pg_sleep(60) AS node');
        const ended = assert.rejects(sleeping, (error) => error.code === '57014');
        await withClient('orders', async (other) => {
          for (let look = 0; look < 2000; look++) {
            const found = await other.query('SELECT count(*)::int AS n FROM pg_stat_activity ' +
              "WHERE state = 'active' AND query = 'SELECT pg_sleep(60) AS node'");
            if (found.rows[0].n === 1) return;
          }
          throw new Error('the statement did not start');
        });
        const canceller = new Client(address('users'));
        canceller.cancel(client, client._getActiveQuery());
        await ended;
        const found = await client.query('SELECT 7 AS n');
        assert.deepStrictEqual(found.rows, [{ n: 7 }]);
      }
    });
  },

  async pg_startup_parameters() {
    const more = { statement_timeout: 43210, application_name: 'node service',
      options: '-c work_mem=7MB', client_encoding: 'utf-8' };
    await withClient('users', async (client) => {
      for (let round = 0; round < 3; round++) {
        const found = await client.query("SELECT current_setting('statement_timeout') AS t, " +
          "current_setting('application_name') AS a, current_setting('work_mem') AS w, " +
          "current_setting('client_encoding') AS e");
        assert.deepStrictEqual(found.rows,
          [{ t: '43210ms', a: 'node service', w: '7MB', e: 'UTF8' }]);
      }
    }, more);
    await withClient('users', async (client) => {
      await assert.rejects(client.query('SELECT pg_sleep(60)'), (error) => error.code === '57014');
    }, { statement_timeout: 50 });
  },

  async pg_unknown_service() {
    await assert.rejects(withClient('nobody', async () => {}), (error) => error.code === '3D000');
  },

  async postgres_js_queries() {
    for (const service of services) {
      await withSql(service, async (sql) => {
        const rows = await sql`SELECT service, ${5}::int AS n FROM {{tables.who}}`;
        assert.deepStrictEqual([...rows], [{ service, n: 5 }]);
      });
    }
  },

  async postgres_js_pipelines() {
    await withSql('users', async (sql) => {
      const all = await Promise.all(Array.from({ length: 2000 }, (_, n) =>
        n % 10 === 3
          ? sql`SELECT 1 / ${0}::int AS n`.catch((error) => error.code)
          : sql`SELECT service, ${n}::int AS n FROM {{tables.who}}`));
      all.forEach((found, n) => {
        if (n % 10 === 3) assert.strictEqual(found, '22012');
        else assert.deepStrictEqual([...found], [{ service: 'users', n }]);
      });
    }, { max: 3 });
  },

  async postgres_js_without_prepare() {
    await withSql('orders', async (sql) => {
      const all = await Promise.all(Array.from({ length: 300 }, (_, n) =>
        sql`SELECT service, ${n}::int AS n FROM {{tables.who}}`));
      all.forEach((found, n) => assert.deepStrictEqual([...found], [{ service: 'orders', n }]));
    }, { prepare: false });
  },

  async postgres_js_transactions_and_cursor() {
    await withSql('users', async (sql) => {
      const seen = await sql.begin(async (transaction) => {
        await transaction`INSERT INTO {{tables.ledger}} VALUES (${'js'})`;
        await transaction.savepoint(async (inner) => inner`SELECT 1 / 0`).catch(() => {});
        const all = [];
        for await (const rows of transaction`SELECT n FROM generate_series(1, 99) n`.cursor(10)) {
          all.push(...rows.map((row) => row.n));
        }
        await transaction`DELETE FROM ledger WHERE nonce = ${'js'}`;
        return all;
      });
      assert.deepStrictEqual(seen, Array.from({ length: 99 }, (_, n) => n + 1));
    });
  },

  async postgres_js_cancel() {
    await withSql('users', async (sql) => {
      for (let round = 0; round < 5; round++) {
        const sleeping = sql`SELECT pg_sleep(60), ${round}::int`.execute();
        const ended = assert.rejects(sleeping, (error) => error.code === '57014');
        await withSql('orders', async (other) => {
          for (let look = 0; look < 2000; look++) {
            const [row] = await other`SELECT count(*)::int AS n FROM pg_stat_activity
              WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(60), $1%'`;
            if (row.n === 1) return;
          }
          throw new Error('the statement did not start');
        });
        sleeping.cancel();
        await ended;
      }
      const [row] = await sql`SELECT 7 AS n`;
      assert.strictEqual(row.n, 7);
    });
  },
};

const limit = setTimeout(() => {
  console.error('still running after 60 s');
  process.exit(2);
}, 60000);

checks[process.argv[2]]().then(
  () => clearTimeout(limit),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
