<?php
// PHP's pgsql extension: libpq's functions, asynchronous queries, persistent connections.

$service = getenv('PGDATABASE');
const ROWS = 100000;
const LARGE = 20 * 1024 * 1024;

// PHP's own message names no reason; the result of pg_send_* does.
error_reporting(E_ALL & ~E_WARNING);

function open(): PgSql\Connection
{
    return pg_connect('', PGSQL_CONNECT_FORCE_NEW);
}

function equal(mixed $found, mixed $expected): void
{
    if ($found !== $expected) {
        $both = array_map(fn($value) => substr(json_encode($value), 0, 300), [$found, $expected]);
        throw new Exception("$both[0] in place of $both[1]");
    }
}

function ask(PgSql\Connection $connection, string $sql, array $values = null): array
{
    $result = $values === null ? pg_query($connection, $sql)
        : pg_query_params($connection, $sql, $values);
    if ($result === false) {
        throw new Exception(pg_last_error($connection));
    }
    return pg_fetch_all($result, PGSQL_NUM);
}

function state(PgSql\Connection $connection): ?string
{
    $result = pg_get_result($connection);
    while (pg_get_result($connection)) {
    }
    return pg_result_error_field($result, PGSQL_DIAG_SQLSTATE) ?: null;
}

function fails_with(PgSql\Connection $connection, string $state, string $sql): void
{
    pg_send_query($connection, $sql);
    equal(state($connection), $state);
    pg_send_query_params($connection, $sql, []);
    equal(state($connection), $state);
}

$checks = [
    'connect' => function () use ($service) {
        equal(ask(open(), 'SELECT service FROM who'), [[$service]]);
    },
    'parameters' => function () {
        equal(ask(open(), 'SELECT $1::int + 1, $2', [6, 'zwölf']), [['7', 'zwölf']]);
    },
    'prepared' => function () use ($service) {
        $all = array_map(fn() => open(), range(1, 4));
        foreach ($all as $connection) {
            pg_prepare($connection, 'mine', 'SELECT service, $1::int FROM who');
        }
        foreach (range(1, 25) as $n) {
            foreach ($all as $connection) {
                equal(pg_fetch_row(pg_execute($connection, 'mine', [$n])), [$service, (string) $n]);
            }
        }
        pg_send_prepare($all[0], 'mine', 'SELECT 1');
        equal(state($all[0]), '42P05');
        ask($all[0], 'DEALLOCATE mine');
        pg_send_execute($all[0], 'mine', [1]);
        equal(state($all[0]), '26000');
    },
    'transaction' => function () {
        [$one, $two] = [open(), open()];
        ask($one, 'DROP TABLE IF EXISTS t_php; CREATE TABLE t_php (id int PRIMARY KEY, body text)');
        ask($one, 'BEGIN');
        ask($one, 'INSERT INTO t_php VALUES ($1, $2)', [1, 'one']);
        ask($one, 'COMMIT');
        equal(ask($two, 'SELECT * FROM t_php'), [['1', 'one']]);
        ask($one, "BEGIN; INSERT INTO t_php VALUES (2, 'two')");
        equal(pg_transaction_status($one), PGSQL_TRANSACTION_INTRANS);
        ask($one, 'ROLLBACK');
        equal(ask($two, 'SELECT count(*) FROM t_php'), [['1']]);
    },
    'error_inside' => function () {
        $one = open();
        ask($one, "BEGIN; INSERT INTO t_php VALUES (3, 'three')");
        pg_send_query($one, 'SELECT 1 / 0');
        equal(state($one), '22012');
        fails_with($one, '25P02', 'SELECT 1');
        equal(pg_transaction_status($one), PGSQL_TRANSACTION_INERROR);
        ask($one, 'ROLLBACK');
        equal(ask($one, 'SELECT count(*) FROM t_php'), [['1']]);
    },
    'sqlstates' => function () {
        $one = open();
        fails_with($one, '42P01', 'SELECT * FROM nowhere');
        fails_with($one, '42703', 'SELECT nothing');
        fails_with($one, '42601', 'SELEC');
        fails_with($one, '23505', 'INSERT INTO t_php VALUES (1)');
        fails_with($one, '22P02', "SELECT 'x'::int");
    },
    'copy' => function () {
        $one = open();
        equal(pg_copy_from($one, 't_php', array_map(fn($n) => "$n\trow\n", range(10, 5009))), true);
        equal(count(pg_copy_to($one, 't_php')), 5001);
        equal(pg_copy_from($one, 't_php', ["x\trow\n"]), false);
        equal(ask($one, 'SELECT count(*) FROM t_php'), [['5001']]);
    },
    'cancel' => function () {
        [$one, $two] = [open(), open()];
        foreach (range(1, 5) as $round) {
            $text = 'SELECT pg_sleep(60) AS php_' . getenv('PGDATABASE') . "_$round";
            pg_send_query($one, $text);
            // A request that comes before its statement does nothing.
            do {
                $seen = ask($two, "SELECT 1 FROM pg_stat_activity WHERE state = 'active'
                    AND query = $1", [$text]);
            } while (!$seen);
            pg_cancel_query($one);
            equal(ask($one, 'SELECT 7'), [['7']]);
        }
    },
    'asynchronous' => function () {
        $all = array_map(fn() => open(), range(1, 4));
        foreach ($all as $n => $connection) {
            pg_send_query($connection, "SELECT $n; SELECT pg_sleep(0.01); SELECT $n + 1");
        }
        foreach ($all as $n => $connection) {
            $found = [];
            while ($result = pg_get_result($connection)) {
                $found[] = pg_fetch_row($result)[0];
            }
            equal($found, [(string) $n, '', (string) ($n + 1)]);
        }
    },
    'large_result' => function () {
        $rows = ask(open(), 'SELECT n FROM generate_series(1, ' . ROWS . ') n');
        equal(array_sum(array_column($rows, 0)), ROWS * (ROWS + 1) / 2);
    },
    'large_value' => function () {
        $one = open();
        equal(strlen(ask($one, "SELECT repeat('x', " . LARGE . ')')[0][0]), LARGE);
        equal(ask($one, 'SELECT length($1)', [str_repeat('x', LARGE)]), [[(string) LARGE]]);
    },
    'persistent' => function () use ($service) {
        // RESET ALL is sent when a persistent connection is taken again.
        foreach (range(1, 10) as $n) {
            $one = pg_pconnect('');
            equal(ask($one, 'SELECT service, $1::int FROM who', [$n]), [[$service, (string) $n]]);
            pg_close($one);
        }
    },
    'reconnect' => function () {
        $one = open();
        foreach (range(1, 10) as $n) {
            pg_prepare($one, 'again', 'SELECT $1::int');
            equal(pg_fetch_row(pg_execute($one, 'again', [$n])), [(string) $n]);
            equal(pg_connection_reset($one), true);
        }
    },
];

$failed = 0;
foreach ($checks as $name => $check) {
    try {
        $check();
        echo "ok $name\n";
    } catch (Throwable $error) {
        echo strtr("FAIL $name: {$error->getMessage()} line {$error->getLine()}", "\n", '|'), "\n";
        $failed = 1;
    }
}
exit($failed);
