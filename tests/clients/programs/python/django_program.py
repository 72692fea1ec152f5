"""Django's ORM over psycopg2, its migrations, and its cursors on the server."""

import pathlib
import sys
import tempfile

import django
from checklist import HOST, LARGE, PORT, ROUNDS, ROWS, SERVICE, USER, equal, fails_with, run
from django.conf import settings

FOLDER = tempfile.TemporaryDirectory()
APP = pathlib.Path(FOLDER.name) / "shop"
(APP / "migrations").mkdir(parents=True)
(APP / "__init__.py").write_text("")
(APP / "migrations" / "__init__.py").write_text("")
(APP / "models.py").write_text("""
from django.db import models
class Item(models.Model):
    body = models.TextField(unique=True)
    size = models.IntegerField(default=0)
""")
sys.path.insert(0, FOLDER.name)
settings.configure(
    INSTALLED_APPS=["shop"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True,
    TIME_ZONE="Europe/Vienna",
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": SERVICE,
                           "USER": USER, "HOST": HOST, "PORT": PORT, "CONN_MAX_AGE": 60}})
django.setup()

from django.core.management import call_command  # noqa: E402  (after setup)
from django.db import Error, connection, transaction  # noqa: E402
from shop.models import Item  # noqa: E402


def sqlstate(error):
    return error.__cause__.pgcode


def ask(sql, values=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def check_connect():
    equal(ask("SELECT service FROM who"), [(SERVICE,)])


def check_parameters():
    equal(ask("SELECT %s + 1, %s", [6, "zwölf"]), [(7, "zwölf")])


def check_migrations():
    call_command("makemigrations", "shop", verbosity=0)
    call_command("migrate", verbosity=0)
    equal("shop_item" in connection.introspection.table_names(), True)
    models = APP / "models.py"
    migration = APP / "migrations" / "0002_note.py"
    migration.write_text("""
from django.db import migrations, models
def fill(apps, schema_editor):
    apps.get_model("shop", "Item").objects.create(body="migrated", note="by hand")
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.AddField("item", "note", models.TextField(default="")),
                  migrations.RunPython(fill, migrations.RunPython.noop)]
""")
    call_command("migrate", "shop", verbosity=0)
    equal(ask("SELECT body, note FROM shop_item"), [("migrated", "by hand")])
    call_command("migrate", "shop", "0001", verbosity=0)
    equal(models.exists(), True)
    Item.objects.all().delete()


def check_transaction():
    with transaction.atomic():
        Item.objects.create(body="one")
    try:
        with transaction.atomic():
            Item.objects.create(body="two")
            raise KeyError("roll back")
    except KeyError:
        pass
    equal([item.body for item in Item.objects.all()], ["one"])


def check_error_inside():
    try:
        with transaction.atomic():
            Item.objects.create(body="three")
            with fails_with("22012", sqlstate, Error):
                ask("SELECT 1 / 0")
            with fails_with("25P02", sqlstate, Error):
                ask("SELECT 1")
            raise KeyError("roll back")
    except KeyError:
        pass
    with transaction.atomic():
        with fails_with("23505", sqlstate, Error), transaction.atomic():
            Item.objects.create(body="one")
        Item.objects.create(body="four")
    equal(Item.objects.count(), 2)


def check_batch():
    Item.objects.bulk_create([Item(body=f"row {n}", size=n) for n in range(1000)], batch_size=100)
    equal(Item.objects.filter(size__gte=500).count(), 500)


def check_time_zone():
    equal(ask("SHOW TimeZone"), [("UTC",)])


def check_iterator_inside_a_transaction():
    with transaction.atomic():
        equal(sum(item.size for item in Item.objects.all().iterator(chunk_size=100)), 499500)


def check_iterator_outside_a_transaction():
    equal(sum(item.size for item in Item.objects.all().iterator(chunk_size=100)), 499500)


def check_large_result():
    equal(sum(n for n, in ask(f"SELECT n FROM generate_series(1, {ROWS}) n")),
          ROWS * (ROWS + 1) // 2)


def check_large_value():
    equal(len(ask(f"SELECT repeat('x', {LARGE})")[0][0]), LARGE)


def check_reconnect():
    for number in range(ROUNDS):
        equal(ask("SELECT %s, service FROM who", [number]), [(number, SERVICE)])
        connection.close()


def check_clean_up():
    call_command("migrate", "shop", "zero", verbosity=0)


run(globals())
