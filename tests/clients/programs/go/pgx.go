// pgx 4: statements prepared under names of its own and cached, batches, binary formats, its pool.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
	_ "github.com/jackc/pgx/v4/stdlib"
)

func state(err error) string {
	var found *pgconn.PgError
	if errors.As(err, &found) {
		return found.Code
	}
	return err.Error()
}

func connect(more string) *pgx.Conn {
	one, err := pgx.Connect(background, dsn()+more)
	must(err)
	return one
}

func batchWith(more string) func() {
	return func() {
		one := connect(more)
		defer one.Close(background)
		for round := 0; round < 5; round++ {
			batch := &pgx.Batch{}
			for n := 0; n < 50; n++ {
				batch.Queue("SELECT service, $1::int FROM who", n)
				batch.Queue("SELECT $1::text", fmt.Sprint(n))
			}
			results := one.SendBatch(background, batch)
			for n := 0; n < 50; n++ {
				var name, text string
				var number int
				must(results.QueryRow().Scan(&name, &number))
				must(results.QueryRow().Scan(&text))
				equal(name, service)
				equal(number, n)
				equal(text, fmt.Sprint(n))
			}
			must(results.Close())
		}
		failing := &pgx.Batch{}
		failing.Queue("SELECT 1")
		failing.Queue("SELECT 1 / $1::int", 0)
		equal(state(one.SendBatch(background, failing).Close()), "22012")
		must(one.Ping(background))
	}
}

func copyBoth() {
	one := connect("")
	defer one.Close(background)
	rows := make([][]interface{}, 5000)
	for n := range rows {
		rows[n] = []interface{}{n + 10, fmt.Sprint("row ", n)}
	}
	count, err := one.CopyFrom(background, pgx.Identifier{"t_pgx"}, []string{"id", "body"},
		pgx.CopyFromRows(rows))
	must(err)
	equal(count, int64(5000))
	var out bytes.Buffer
	_, err = one.PgConn().CopyTo(background, &out,
		"COPY (SELECT id FROM t_pgx WHERE id >= 10) TO STDOUT")
	must(err)
	equal(bytes.Count(out.Bytes(), []byte("\n")), 5000)
	_, err = one.CopyFrom(background, pgx.Identifier{"t_pgx"}, []string{"id", "body"},
		pgx.CopyFromRows(rows))
	equal(state(err), "23505")
	must(one.Ping(background))
}

func pool() {
	pool, err := pgxpool.Connect(background, dsn()+" pool_max_conns=4")
	must(err)
	defer pool.Close()
	for n := 0; n < 100; n++ {
		var name string
		var number int
		must(pool.QueryRow(background, "SELECT service, $1::int FROM who", n).Scan(&name, &number))
		equal(name, service)
		equal(number, n)
	}
	must(pool.BeginFunc(background, func(transaction pgx.Tx) error {
		inner := transaction.BeginFunc(background, func(nested pgx.Tx) error {
			_, err := nested.Exec(background, "SELECT 1 / 0")
			return err
		})
		equal(state(inner), "22012")
		_, err := transaction.Exec(background, "SELECT 1")
		return err
	}))
}

func named() {
	one := connect("")
	defer one.Close(background)
	for round := 0; round < 5; round++ {
		_, err := one.Prepare(background, "mine", "SELECT service, $1::int FROM who")
		must(err)
		var name string
		var number int
		must(one.QueryRow(background, "mine", round).Scan(&name, &number))
		equal(name, service)
		equal(number, round)
		must(one.Deallocate(background, "mine"))
	}
}

func cancelRequest() {
	one := connect("")
	defer one.Close(background)
	for round := 0; round < 5; round++ {
		ended := make(chan error, 1)
		go func() {
			_, err := one.Exec(background, "SELECT pg_sleep(60)")
			ended <- err
		}()
		for waiting := true; waiting; {
			must(one.PgConn().CancelRequest(background))
			select {
			case err := <-ended:
				equal(state(err), "57014")
				waiting = false
			case <-time.After(50 * time.Millisecond):
			}
		}
		must(one.Ping(background))
	}
}

func listen() {
	one := connect("")
	defer one.Close(background)
	_, err := one.Exec(background, "LISTEN pgx_"+service)
	must(err)
	other := connect("")
	defer other.Close(background)
	_, err = other.Exec(background, "SELECT pg_notify($1, 'payload')", "pgx_"+service)
	must(err)
	soon, stop := context.WithTimeout(background, 3*time.Second)
	defer stop()
	found, err := one.WaitForNotification(soon)
	must(err)
	equal(found.Payload, "payload")
}

func driverChecks() []check {
	describe := " statement_cache_mode=describe"
	list := standard{"pgx", dsn(), "t_pgx", state}.checks("")
	for _, one := range (standard{"pgx", dsn() + describe, "t_pgx", state}).checks("describe_") {
		// Its database/sql takes the name of a prepared statement for a query there.
		if one.name != "describe_prepared" {
			list = append(list, one)
		}
	}
	return append(list, check{"batch", batchWith("")}, check{"describe_batch", batchWith(describe)},
		check{"copy", copyBoth}, check{"pool", pool}, check{"named", named},
		check{"cancel_request", cancelRequest}, check{"listen", listen})
}
