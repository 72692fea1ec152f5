# Perl's DBD::Pg: unnamed first, then names made of its process id, DEALLOCATE as SQL.
use strict;
use warnings;
use utf8;
use DBI;
use DBD::Pg qw(:async);
binmode STDOUT, ':utf8';
$| = 1;

my $service = $ENV{PGDATABASE};
my $rows = 100_000;
my $large = 20 * 1024 * 1024;

sub with_handle {
    return DBI->connect("dbi:Pg:dbname=$service", $ENV{PGUSER}, '',
        { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, @_ });
}

sub equal {
    my ($found, $expected) = @_;
    $found //= 'undef';
    die substr($found, 0, 200) . " in place of $expected\n" if $found ne $expected;
}

sub fails_with {
    my ($handle, $state, $what) = @_;
    die "no error $state\n" if eval { $what->(); 1 };
    equal($handle->state, $state);
}

sub one { my $handle = shift; return join ',', $handle->selectrow_array(shift, undef, @_) }

my @checks = (
    connect => sub { equal(one(with_handle(), 'SELECT service FROM who'), $service) },
    parameters => sub {
        equal(one(with_handle(), 'SELECT ?::int + 1, ?::text', 6, 'zwölf'), '7,zwölf');
    },
    prepared => sub {
        my @all = map { with_handle() } 1 .. 4;
        my @statements = map { $_->prepare('SELECT service, ?::int FROM who') } @all;
        for my $n (1 .. 25) {
            for my $statement (@statements) {
                $statement->execute($n);
                equal(join(',', @{ $statement->fetchall_arrayref->[0] }), "$service,$n");
            }
        }
    },
    many_statements => sub {
        my $handle = with_handle();
        for my $n (1 .. 30) {
            my $statement = $handle->prepare("SELECT $n + ?::int", { pg_prepare_now => 1 });
            for my $m (1 .. 3) {
                $statement->execute($m);
                equal($statement->fetchrow_array, $n + $m);
                $statement->finish;
            }
        }
    },
    transaction => sub {
        my ($handle, $other) = (with_handle(), with_handle());
        $handle->do('DROP TABLE IF EXISTS t_perl');
        $handle->do('CREATE TABLE t_perl (id int PRIMARY KEY, body text)');
        $handle->begin_work;
        $handle->do('INSERT INTO t_perl VALUES (?, ?)', undef, 1, 'one');
        $handle->commit;
        equal(one($other, 'SELECT id, body FROM t_perl'), '1,one');
        $handle->begin_work;
        $handle->do("INSERT INTO t_perl VALUES (2, 'two')");
        $handle->rollback;
        equal(one($other, 'SELECT count(*) FROM t_perl'), 1);
    },
    error_inside => sub {
        my $handle = with_handle(AutoCommit => 0);
        $handle->do("INSERT INTO t_perl VALUES (3, 'three')");
        $handle->pg_savepoint('before');
        fails_with($handle, '22012', sub { one($handle, 'SELECT 1 / ?::int', 0) });
        fails_with($handle, '25P02', sub { one($handle, 'SELECT 1') });
        equal($handle->ping, 4);
        $handle->pg_rollback_to('before');
        equal(one($handle, 'SELECT count(*) FROM t_perl'), 2);
        $handle->rollback;
        equal(one($handle, 'SELECT count(*) FROM t_perl'), 1);
        $handle->rollback;
    },
    sqlstates => sub {
        my $handle = with_handle();
        my %states = ('SELECT * FROM nowhere' => '42P01', 'SELECT nothing' => '42703',
            'SELEC' => '42601', 'INSERT INTO t_perl VALUES (1)' => '23505',
            q{SELECT 'x'::int} => '22P02');
        while (my ($text, $state) = each %states) {
            fails_with($handle, $state, sub { $handle->do($text) });
            fails_with($handle, $state, sub { one($handle, $text) });
        }
    },
    copy => sub {
        my $handle = with_handle();
        $handle->do('COPY t_perl FROM STDIN');
        $handle->pg_putcopydata("$_\trow\n") for 10 .. 5009;
        $handle->pg_putcopyend;
        $handle->do('COPY (SELECT id FROM t_perl WHERE id >= 10 ORDER BY 1) TO STDOUT');
        my ($sum, $line) = (0, '');
        $sum += $line while $handle->pg_getcopydata($line) >= 0;
        equal($sum, 5000 * (10 + 5009) / 2);
    },
    cancel => sub {
        my ($handle, $other) = (with_handle(), with_handle());
        for my $round (1 .. 5) {
            my $text = "SELECT pg_sleep(60) AS perl_${service}_$round";
            $handle->do($text, { pg_async => PG_ASYNC });
            # A request that comes before its statement does nothing.
            1 until one($other, q{SELECT 1 FROM pg_stat_activity WHERE state = 'active'
                AND query = ?}, $text);
            $handle->pg_cancel;
            equal(one($handle, 'SELECT 7'), 7);
        }
    },
    batch => sub {
        my $handle = with_handle();
        my $statement = $handle->prepare('INSERT INTO t_perl VALUES (?, ?)');
        my $count = $statement->execute_array(undef, [6000 .. 6199], [map { "row $_" } 1 .. 200]);
        equal($count, 200);
    },
    large_result => sub {
        my $statement = with_handle()->prepare("SELECT n FROM generate_series(1, $rows) n");
        $statement->execute;
        my $sum = 0;
        $sum += $_->[0] for @{ $statement->fetchall_arrayref };
        equal($sum, $rows * ($rows + 1) / 2);
    },
    large_value => sub {
        my $handle = with_handle();
        equal(length one($handle, "SELECT repeat('x', $large)"), $large);
        equal(one($handle, 'SELECT length(?)', 'x' x $large), $large);
    },
    reconnect => sub {
        for my $n (1 .. 10) {
            my $handle = with_handle();
            equal(one($handle, 'SELECT ?::int', $n), $n) for 1 .. 3;
            $handle->disconnect;
        }
    },
);

my $failed = 0;
while (my ($name, $check) = splice @checks, 0, 2) {
    if (eval { $check->(); 1 }) {
        print "ok $name\n";
    } else {
        (my $why = $@) =~ s/\n/ | /g;
        print "FAIL $name: $why\n";
        $failed = 1;
    }
}
exit $failed;
