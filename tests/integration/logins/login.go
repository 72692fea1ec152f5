// pgx, or with the argument `pq` lib/pq, logs in as the environment says (drivers_login_test.py),
// asks whose table it sees and prints the answer.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/jackc/pgx/v4"
	_ "github.com/lib/pq"
)

const question = "SELECT service FROM {{tables.who}}"

func quoted(name, variable string) string {
	if os.Getenv(variable) == "" {
		return ""
	}
	return fmt.Sprintf(" %s='%s'", name, os.Getenv(variable))
}

func main() {
	words := "dbname=users" + quoted("host", "HOST") + quoted("port", "PORT") +
		quoted("user", "LOGIN") + quoted("password", "PASSWORD") + quoted("sslmode", "SSLMODE") +
		quoted("sslrootcert", "ROOT") + quoted("sslcert", "CERT") + quoted("sslkey", "KEY")
	ask := pgxAnswer
	if len(os.Args) > 1 {
		ask = pqAnswer
	}
	service, err := ask(words)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(service)
}

func pgxAnswer(words string) (service string, err error) {
	client, err := pgx.Connect(context.Background(), words)
	if err != nil {
		return "", err
	}
	defer client.Close(context.Background())
	err = client.QueryRow(context.Background(), question).Scan(&service)
	return service, err
}

func pqAnswer(words string) (service string, err error) {
	pool, err := sql.Open("postgres", words)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	err = pool.QueryRow(question).Scan(&service)
	return service, err
}
