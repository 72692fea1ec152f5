// Query builders and mappers over node-postgres: knex, sequelize, typeorm, drizzle.
'use strict';

const { address, service, equal, failsWith, run } = require('./checklist.js');

async function withKnex(work) {
  const knex = require('knex')({ client: 'pg', connection: address, pool: { min: 0, max: 4 } });
  try {
    await work(knex);
  } finally {
    await knex.destroy();
  }
}

const migrations = {
  getMigrations: async () => ['first', 'second'],
  getMigrationName: (name) => name,
  getMigration: async (name) => (name === 'first'
    ? { up: (knex) => knex.schema.createTable('t_knex', (t) => { t.increments(); t.text('body'); }),
      down: (knex) => knex.schema.dropTable('t_knex') }
    : { up: (knex) => knex.schema.alterTable('t_knex', (t) => { t.integer('size').unique(); }),
      down: (knex) => knex.schema.alterTable('t_knex', (t) => { t.dropColumn('size'); }) }),
};

async function withSequelize(work) {
  const { Sequelize, DataTypes } = require('sequelize');
  const sequelize = new Sequelize(address.database, address.user, '', {
    host: address.host, port: address.port, dialect: 'postgres', logging: false,
    pool: { max: 4 } });
  // It asks for the indexes of all tables of the name, whatever their schema: one that another
  // service drops meanwhile would be an error of PostgreSQL's.
  const Item = sequelize.define(`t_sequelize_${service}`,
    { body: { type: DataTypes.TEXT, unique: true } }, { freezeTableName: true });
  try {
    await work(sequelize, Item);
  } finally {
    await sequelize.close();
  }
}

async function withTypeorm(work) {
  const { DataSource, EntitySchema } = require('typeorm');
  const Item = new EntitySchema({ name: 't_typeorm', columns: {
    id: { type: Number, primary: true, generated: true }, body: { type: String, unique: true } } });
  class First1700000000000 {
    up(runner) { return runner.query('CREATE TABLE t_migrated (id int)'); }

    down(runner) { return runner.query('DROP TABLE t_migrated'); }
  }
  const source = new DataSource({ type: 'postgres', host: address.host, port: address.port,
    username: address.user, database: address.database, entities: [Item],
    migrations: [First1700000000000], installExtensions: false });
  await source.initialize();
  try {
    await work(source, Item);
  } finally {
    await source.destroy();
  }
}

run({
  async knex_migrations() {
    await withKnex(async (knex) => {
      await knex.migrate.latest({ migrationSource: migrations });
      equal(await knex.schema.hasColumn('t_knex', 'size'), true);
      await knex.migrate.rollback({ migrationSource: migrations }, true);
      equal(await knex.schema.hasTable('t_knex'), false);
      await knex.migrate.latest({ migrationSource: migrations });
    });
  },
  async knex_transaction() {
    await withKnex(async (knex) => {
      await knex.transaction((inside) => inside('t_knex').insert([{ size: 1 }, { size: 2 }]));
      await failsWith('23505', knex.transaction(async (inside) => {
        await inside('t_knex').insert({ size: 3 });
        await inside('t_knex').insert({ size: 1 });
      }));
      equal((await knex('t_knex').sum('size'))[0].sum, '3');
      equal(await knex('who').select('service'), [{ service }]);
      const all = await Promise.all(Array.from({ length: 100 }, (_, n) =>
        knex.raw('SELECT ?::int AS n', [n])));
      all.forEach((found, n) => equal(found.rows, [{ n }]));
    });
    await withKnex((knex) => knex.migrate.rollback({ migrationSource: migrations }, true));
  },
  async sequelize_models() {
    await withSequelize(async (sequelize, Item) => {
      await Item.sync({ force: true });
      await sequelize.transaction((transaction) =>
        Item.bulkCreate([{ body: 'one' }, { body: 'two' }], { transaction }));
      await failsWith('23505', sequelize.transaction(async (transaction) => {
        await Item.create({ body: 'three' }, { transaction });
        await Item.create({ body: 'one' }, { transaction });
      }), (error) => error.parent.code);
      equal(await Item.count(), 2);
      const [found] = await sequelize.query('SELECT service, $1::int AS n FROM who', { bind: [7] });
      equal(found, [{ service, n: 7 }]);
      await Item.sync({ alter: true });
      await Item.drop();
    });
  },
  async typeorm_entities() {
    await withTypeorm(async (source, Item) => {
      await source.synchronize();
      await source.runMigrations();
      await source.undoLastMigration();
      const items = source.getRepository(Item);
      await items.clear();
      await items.save([{ body: 'one' }, { body: 'two' }]);
      await failsWith('23505', source.transaction(async (manager) => {
        await manager.save(Item, { body: 'three' });
        await manager.insert(Item, { body: 'one' });
      }));
      equal(await items.count(), 2);
      equal(await source.query('SELECT service, $1::int AS n FROM who', [7]), [{ service, n: 7 }]);
    });
  },
  async drizzle_queries() {
    const { Pool } = require('pg');
    const { drizzle } = require('drizzle-orm/node-postgres');
    const { pgTable, integer, text } = require('drizzle-orm/pg-core');
    const { sql, eq } = require('drizzle-orm');
    const pool = new Pool({ ...address, max: 4 });
    const db = drizzle(pool);
    const items = pgTable('t_drizzle', { id: integer('id').primaryKey(), body: text('body') });
    try {
      await db.execute(sql`DROP TABLE IF EXISTS t_drizzle`);
      await db.execute(sql`CREATE TABLE t_drizzle (id int PRIMARY KEY, body text)`);
      await db.transaction((inside) => inside.insert(items).values({ id: 1, body: 'one' }));
      await failsWith('23505', db.transaction(async (inside) => {
        await inside.insert(items).values({ id: 2, body: 'two' });
        await inside.insert(items).values({ id: 1, body: 'one' });
      }), (error) => (error.cause ?? error).code);
      const one = db.select().from(items).where(eq(items.id, sql.placeholder('id'))).prepare('one');
      for (let round = 0; round < 20; round++) {
        equal(await one.execute({ id: 1 }), [{ id: 1, body: 'one' }]);
      }
      equal(await db.$count(items), 1);
    } finally {
      await pool.end();
    }
  },
});
