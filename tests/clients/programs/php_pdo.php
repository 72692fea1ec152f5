<?php
// PHP's PDO: every connection calls its statements pdo_stmt_00000001, 2, …, and DEALLOCATEs them.

$service = getenv('PGDATABASE');
const ROWS = 100000;
const LARGE = 20 * 1024 * 1024;

function open(): PDO
{
    return new PDO('pgsql:dbname=' . getenv('PGDATABASE'), getenv('PGUSER'), null, [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_NUM,
    ]);
}

function equal(mixed $found, mixed $expected): void
{
    if ($found !== $expected) {
        $both = array_map(fn($value) => substr(json_encode($value), 0, 300), [$found, $expected]);
        throw new Exception("$both[0] in place of $both[1]");
    }
}

function ask(PDO $connection, string $sql, array $values = []): array
{
    $statement = $connection->prepare($sql);
    $statement->execute($values);
    return $statement->fetchAll();
}

function fails_with(string $state, callable $what): void
{
    try {
        $what();
    } catch (PDOException $error) {
        equal($error->errorInfo[0], $state);
        return;
    }
    throw new Exception("no error $state");
}

$checks = [
    'connect' => fn() => equal(ask(open(), 'SELECT service FROM who'), [[$service]]),
    'parameters' => fn() => equal(ask(open(), 'SELECT ?::int + 1, ?::text', [6, 'zwölf']),
        [[7, 'zwölf']]),
    'prepared' => function () use ($service) {
        $all = array_map(fn() => open(), range(1, 4));
        $statements = array_map(
            fn($one) => $one->prepare('SELECT service, ?::int FROM who'), $all);
        foreach (range(1, 25) as $n) {
            foreach ($statements as $statement) {
                $statement->execute([$n]);
                equal($statement->fetchAll(), [[$service, $n]]);
            }
        }
        unset($statements, $statement);
        foreach ($all as $one) {
            equal(ask($one, 'SELECT ?::int', [7]), [[7]]);
        }
    },
    'emulated' => function () use ($service) {
        $one = open();
        $one->setAttribute(PDO::ATTR_EMULATE_PREPARES, true);
        equal(ask($one, 'SELECT service, ?::int FROM who', [7]), [[$service, 7]]);
    },
    'transaction' => function () {
        [$one, $two] = [open(), open()];
        $one->exec('DROP TABLE IF EXISTS t_pdo; CREATE TABLE t_pdo (id serial PRIMARY KEY, b text)');
        $one->beginTransaction();
        ask($one, 'INSERT INTO t_pdo (b) VALUES (?)', ['one']);
        equal($one->lastInsertId(), '1');
        $one->commit();
        equal(ask($two, 'SELECT * FROM t_pdo'), [[1, 'one']]);
        $one->beginTransaction();
        ask($one, 'INSERT INTO t_pdo (b) VALUES (?)', ['two']);
        $one->rollBack();
        equal(ask($two, 'SELECT count(*) FROM t_pdo'), [[1]]);
    },
    'error_inside' => function () {
        $one = open();
        $one->beginTransaction();
        ask($one, "INSERT INTO t_pdo (b) VALUES ('three')");
        fails_with('22012', fn() => ask($one, 'SELECT 1 / ?::int', [0]));
        fails_with('25P02', fn() => ask($one, 'SELECT 1'));
        $one->rollBack();
        equal(ask($one, 'SELECT count(*) FROM t_pdo'), [[1]]);
    },
    'last_insert_id' => function () {
        $one = open();
        ask($one, "INSERT INTO t_pdo (b) VALUES ('four')");
        equal((int) $one->lastInsertId() > 1, true);
    },
    'sqlstates' => function () {
        $one = open();
        $states = ['SELECT * FROM nowhere' => '42P01', 'SELECT nothing' => '42703',
            'SELEC' => '42601', 'INSERT INTO t_pdo VALUES (1)' => '23505',
            "SELECT 'x'::int" => '22P02'];
        foreach ($states as $text => $state) {
            fails_with($state, fn() => ask($one, $text));
            fails_with($state, fn() => $one->query($text));
        }
    },
    'copy' => function () {
        $one = open();
        $rows = array_map(fn($n) => "$n\trow\n", range(10, 5009));
        equal($one->pgsqlCopyFromArray('t_pdo', $rows), true);
        equal(count($one->pgsqlCopyToArray('t_pdo')) >= 5001, true);
    },
    'large_object' => function () {
        $one = open();
        $one->beginTransaction();
        $oid = $one->pgsqlLOBCreate();
        $stream = $one->pgsqlLOBOpen($oid, 'w');
        fwrite($stream, str_repeat('x', 100000));
        $stream = null;
        $one->commit();
        $one->beginTransaction();
        equal(strlen(stream_get_contents($one->pgsqlLOBOpen($oid, 'r'))), 100000);
        $one->pgsqlLOBUnlink($oid);
        $one->commit();
    },
    'large_result' => function () {
        $rows = ask(open(), 'SELECT n FROM generate_series(1, ' . ROWS . ') n');
        equal(array_sum(array_column($rows, 0)), ROWS * (ROWS + 1) / 2);
    },
    'large_value' => function () {
        $one = open();
        equal(strlen(ask($one, "SELECT repeat('x', " . LARGE . ')')[0][0]), LARGE);
        equal(ask($one, 'SELECT length(?)', [str_repeat('x', LARGE)]), [[LARGE]]);
    },
    'reconnect' => function () {
        foreach (range(1, 10) as $n) {
            $one = open();
            equal(ask($one, 'SELECT ?::int', [$n]), [[$n]]);
            $one = null;
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
