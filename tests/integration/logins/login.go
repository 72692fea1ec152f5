// pgx logs in as the environment says (drivers_login_test.py), asks whose table it sees and prints
// the answer.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v4"
)

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
	client, err := pgx.Connect(context.Background(), words)
	var service string
	if err == nil {
		defer client.Close(context.Background())
		err = client.QueryRow(context.Background(),
			"SELECT service FROM {{tables.who}}").Scan(&service)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(service)
}
