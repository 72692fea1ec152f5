// Checks of Go's drivers: the list, what runs it, and database/sql's part, which both share.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	rowCount   = 100000
	largeBytes = 20 * 1024 * 1024
)

var service = os.Getenv("PGDATABASE")
var background = context.Background()

func dsn() string {
	return fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable",
		os.Getenv("PGHOST"), os.Getenv("PGPORT"), os.Getenv("PGUSER"), service)
}

// must ends the check that it is called in.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal[T comparable](found, expected T) {
	if found != expected {
		panic(fmt.Errorf("%.200v in place of %.200v", found, expected))
	}
}

type check struct {
	name string
	run  func()
}

func report(one check) (good bool) {
	defer func() {
		if why := recover(); why != nil {
			fmt.Printf("FAIL %s: %s\n", one.name, strings.ReplaceAll(fmt.Sprint(why), "\n", " | "))
			good = false
		}
	}()
	one.run()
	fmt.Printf("ok %s\n", one.name)
	return true
}

// A pool of database/sql; `state` takes the SQLSTATE out of a driver's error.
type standard struct {
	driver, dsn, table string
	state              func(error) string
}

func (s standard) open() *sql.DB {
	pool, err := sql.Open(s.driver, s.dsn)
	must(err)
	pool.SetMaxOpenConns(4)
	return pool
}

func (s standard) failsWith(code string, err error) {
	if err == nil {
		panic(errors.New("no error " + code))
	}
	equal(s.state(err), code)
}

func (s standard) basics() {
	pool := s.open()
	defer pool.Close()
	var name, text string
	var number int
	must(pool.QueryRow("SELECT service FROM who").Scan(&name))
	equal(name, service)
	must(pool.QueryRow("SELECT $1::int + 1, $2::text", 6, "zwölf").Scan(&number, &text))
	equal(number, 7)
	equal(text, "zwölf")
}

func (s standard) prepared() {
	pool := s.open()
	defer pool.Close()
	statement, err := pool.Prepare("SELECT service, $1::int FROM who")
	must(err)
	failures := make(chan any, 4)
	var all sync.WaitGroup
	for worker := 0; worker < 4; worker++ {
		all.Add(1)
		go func() {
			defer all.Done()
			defer func() { failures <- recover() }()
			for n := 0; n < 50; n++ {
				var name string
				var number int
				must(statement.QueryRow(n).Scan(&name, &number))
				equal(name, service)
				equal(number, n)
			}
		}()
	}
	all.Wait()
	for worker := 0; worker < 4; worker++ {
		if why := <-failures; why != nil {
			panic(why)
		}
	}
	must(statement.Close())
}

func (s standard) count(pool *sql.DB) (count int) {
	must(pool.QueryRow("SELECT count(*) FROM " + s.table).Scan(&count))
	return count
}

func (s standard) transaction() {
	pool := s.open()
	defer pool.Close()
	for _, text := range []string{"DROP TABLE IF EXISTS " + s.table,
		"CREATE TABLE " + s.table + " (id int PRIMARY KEY, body text)"} {
		_, err := pool.Exec(text)
		must(err)
	}
	for n, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
		transaction, err := pool.Begin()
		must(err)
		_, err = transaction.Exec("INSERT INTO "+s.table+" VALUES ($1, $2)", n, "body")
		must(err)
		must(end(transaction))
		equal(s.count(pool), 1)
	}
}

func (s standard) errorInside() {
	pool := s.open()
	defer pool.Close()
	transaction, err := pool.BeginTx(background, &sql.TxOptions{Isolation: sql.LevelSerializable})
	must(err)
	_, err = transaction.Exec("INSERT INTO " + s.table + " VALUES (3, 'three')")
	must(err)
	_, err = transaction.Exec("SELECT 1 / $1::int", 0)
	s.failsWith("22012", err)
	_, err = transaction.Exec("SELECT 1")
	s.failsWith("25P02", err)
	must(transaction.Rollback())
	equal(s.count(pool), 1)
}

func (s standard) sqlstates() {
	pool := s.open()
	defer pool.Close()
	states := map[string]string{"SELECT * FROM nowhere": "42P01", "SELECT nothing": "42703",
		"SELEC": "42601", "INSERT INTO " + s.table + " VALUES (0)": "23505",
		"SELECT 'x'::int": "22P02"}
	for text, code := range states {
		_, err := pool.Exec(text)
		s.failsWith(code, err)
		var number int
		s.failsWith(code, pool.QueryRow(text+" -- $1").Scan(&number))
	}
}

func (s standard) cancel() {
	pool := s.open()
	defer pool.Close()
	for round := 0; round < 5; round++ {
		soon, stop := context.WithTimeout(background, 100*time.Millisecond)
		_, err := pool.ExecContext(soon, "SELECT pg_sleep(60)")
		stop()
		if err == nil {
			panic(errors.New("it was not cancelled"))
		}
		var number int
		must(pool.QueryRow("SELECT 7").Scan(&number))
		equal(number, 7)
	}
}

func (s standard) largeResult() {
	pool := s.open()
	defer pool.Close()
	rows, err := pool.Query("SELECT n FROM generate_series(1, $1::int) n", rowCount)
	must(err)
	sum := 0
	for rows.Next() {
		var number int
		must(rows.Scan(&number))
		sum += number
	}
	must(rows.Err())
	equal(sum, rowCount*(rowCount+1)/2)
}

func (s standard) largeValue() {
	pool := s.open()
	defer pool.Close()
	var text string
	var length int
	must(pool.QueryRow("SELECT repeat('x', $1::int)", largeBytes).Scan(&text))
	equal(len(text), largeBytes)
	must(pool.QueryRow("SELECT length($1::text)", text).Scan(&length))
	equal(length, largeBytes)
}

func (s standard) reconnect() {
	for n := 0; n < 10; n++ {
		pool := s.open()
		must(pool.Ping())
		var number int
		must(pool.QueryRow("SELECT $1::int", n).Scan(&number))
		equal(number, n)
		must(pool.Close())
	}
}

func (s standard) checks(prefix string) []check {
	return []check{{prefix + "basics", s.basics}, {prefix + "prepared", s.prepared},
		{prefix + "transaction", s.transaction}, {prefix + "error_inside", s.errorInside},
		{prefix + "sqlstates", s.sqlstates}, {prefix + "cancel", s.cancel},
		{prefix + "large_result", s.largeResult}, {prefix + "large_value", s.largeValue},
		{prefix + "reconnect", s.reconnect}}
}

func main() {
	good := true
	for _, one := range driverChecks() {
		good = report(one) && good
	}
	if !good {
		os.Exit(1)
	}
}
