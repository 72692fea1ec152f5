"""SQLAlchemy with its pool: core and ORM over psycopg2, and Alembic's migrations."""

import sys
import tempfile

import sqlalchemy
from checklist import HOST, LARGE, PORT, ROUNDS, ROWS, SERVICE, USER, equal, fails_with, run
from sqlalchemy import text
from sqlalchemy.orm import Session, declarative_base

URL = f"postgresql+psycopg2://{USER}@{HOST}:{PORT}/{SERVICE}"
ENGINE = sqlalchemy.create_engine(URL, pool_size=4, pool_pre_ping=True)
Base = declarative_base()


class Item(Base):
    __tablename__ = "t_alchemy"
    id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
    body = sqlalchemy.Column(sqlalchemy.Text, unique=True)


def sqlstate(error):
    return error.orig.pgcode


def check_connect():
    with ENGINE.connect() as connection:
        equal(connection.execute(text("SELECT service FROM who")).all(), [(SERVICE,)])


def check_parameters():
    with ENGINE.connect() as connection:
        found = connection.execute(text("SELECT CAST(:n AS int) + 1, :s"), {"n": 6, "s": "zwölf"})
        equal(found.all(), [(7, "zwölf")])


def check_schema():
    Base.metadata.drop_all(ENGINE)
    Base.metadata.create_all(ENGINE)
    equal(sqlalchemy.inspect(ENGINE).has_table("t_alchemy"), True)
    columns = [column["name"] for column in sqlalchemy.inspect(ENGINE).get_columns("t_alchemy")]
    equal(columns, ["id", "body"])


def check_transaction():
    with Session(ENGINE) as session, session.begin():
        session.add_all([Item(body="one"), Item(body="two")])
    with Session(ENGINE) as session:
        session.add(Item(body="three"))
        session.flush()
        session.rollback()
        equal([item.body for item in session.query(Item).order_by(Item.id)], ["one", "two"])


def check_error_inside():
    with Session(ENGINE) as session:
        session.add(Item(body="four"))
        session.flush()
        with fails_with("22012", sqlstate, sqlalchemy.exc.DBAPIError):
            session.connection().execute(text("SELECT 1 / 0"))
        with fails_with("25P02", sqlstate, sqlalchemy.exc.DBAPIError):
            session.connection().execute(text("SELECT 1"))
        session.rollback()
        equal(session.query(Item).count(), 2)


def check_savepoint():
    with Session(ENGINE) as session, session.begin():
        with fails_with("23505", sqlstate, sqlalchemy.exc.IntegrityError):
            with session.begin_nested():
                session.add(Item(body="one"))
        equal(session.query(Item).count(), 2)


def check_batch():
    with ENGINE.begin() as connection:
        connection.execute(Item.__table__.insert(), [{"body": f"row {n}"} for n in range(500)])
    with ENGINE.connect() as connection:
        equal(connection.scalar(text("SELECT count(*) FROM t_alchemy")), 502)


def check_server_side_cursor():
    with ENGINE.connect() as connection:
        rows = connection.execution_options(stream_results=True).execute(
            text(f"SELECT n FROM generate_series(1, {ROWS}) n"))
        equal(sum(n for n, in rows), ROWS * (ROWS + 1) // 2)


def check_large_value():
    with ENGINE.connect() as connection:
        equal(len(connection.scalar(text(f"SELECT repeat('x', {LARGE})"))), LARGE)


def check_pool():
    for number in range(ROUNDS):
        with ENGINE.connect() as first:
            equal(first.scalar(text("SELECT CAST(:n AS int)"), {"n": number}), number)
    ENGINE.dispose()
    with ENGINE.connect() as connection:
        equal(connection.scalar(text("SELECT service FROM who")), SERVICE)


MIGRATION = '''
revision = "{revision}"
down_revision = {before!r}
import sqlalchemy
from alembic import op
def upgrade():
    {upgrade}
def downgrade():
    {downgrade}
'''
ENVIRONMENT = '''
import sqlalchemy
from alembic import context
engine = sqlalchemy.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
'''


def check_alembic():
    from alembic import command
    from alembic.config import Config
    with tempfile.TemporaryDirectory() as folder:
        import pathlib
        versions = pathlib.Path(folder) / "versions"
        versions.mkdir()
        (versions.parent / "env.py").write_text(ENVIRONMENT)
        (versions / "1.py").write_text(MIGRATION.format(
            revision="1", before=None, downgrade="op.drop_table('t_alembic')",
            upgrade="op.create_table('t_alembic', sqlalchemy.Column('id', sqlalchemy.Integer))"))
        (versions / "2.py").write_text(MIGRATION.format(
            revision="2", before="1", downgrade="op.drop_column('t_alembic', 'body')",
            upgrade="op.add_column('t_alembic', sqlalchemy.Column('body', sqlalchemy.Text))"))
        config = Config(stdout=sys.stderr)
        config.set_main_option("script_location", folder)
        config.set_main_option("sqlalchemy.url", URL)
        command.upgrade(config, "head")
        with ENGINE.connect() as connection:
            equal(connection.scalar(text("SELECT version_num FROM alembic_version")), "2")
            equal(connection.execute(text("SELECT id, body FROM t_alembic")).all(), [])
        command.downgrade(config, "base")
        equal(sqlalchemy.inspect(ENGINE).has_table("t_alembic"), False)


run(globals())
