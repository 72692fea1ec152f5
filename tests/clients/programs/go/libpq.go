// lib/pq: the unnamed statement is used across a Sync, or with binary_parameters in one batch.
package main

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"
)

func state(err error) string {
	var found *pq.Error
	if errors.As(err, &found) {
		return string(found.Code)
	}
	return err.Error()
}

func copyIn() {
	pool, err := sql.Open("postgres", dsn())
	must(err)
	defer pool.Close()
	transaction, err := pool.Begin()
	must(err)
	statement, err := transaction.Prepare(pq.CopyIn("t_libpq", "id", "body"))
	must(err)
	for n := 10; n < 5010; n++ {
		_, err = statement.Exec(n, fmt.Sprint("row ", n))
		must(err)
	}
	_, err = statement.Exec()
	must(err)
	must(statement.Close())
	must(transaction.Commit())
	var count int
	must(pool.QueryRow("SELECT count(*) FROM t_libpq").Scan(&count))
	equal(count, 5001)
}

func arrays() {
	pool, err := sql.Open("postgres", dsn())
	must(err)
	defer pool.Close()
	var found []string
	must(pool.QueryRow("SELECT $1::text[] || 'c'::text", pq.Array([]string{"a", "b"})).
		Scan((*pq.StringArray)(&found)))
	equal(fmt.Sprint(found), "[a b c]")
}

func listen() {
	events := make(chan error, 8)
	listener := pq.NewListener(dsn(), time.Second, time.Minute,
		func(_ pq.ListenerEventType, err error) { events <- err })
	defer listener.Close()
	must(listener.Listen("go_" + service))
	pool, err := sql.Open("postgres", dsn())
	must(err)
	defer pool.Close()
	_, err = pool.Exec("SELECT pg_notify($1, 'payload')", "go_"+service)
	must(err)
	select {
	case found := <-listener.Notify:
		equal(found.Extra, "payload")
	case <-time.After(3 * time.Second):
		panic(errors.New("no notification"))
	}
}

func driverChecks() []check {
	plain := standard{"postgres", dsn(), "t_libpq", state}
	binary := standard{"postgres", dsn() + " binary_parameters=yes", "t_libpq", state}
	list := append(plain.checks(""), binary.checks("binary_")...)
	return append(list, check{"copy", copyIn}, check{"arrays", arrays},
		check{"listen", listen})
}
