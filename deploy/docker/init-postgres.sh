#!/bin/sh
# Run once by the postgres image, on an empty data folder: a login of schemux's own that is not a
# superuser, its database, and a schema for each service of schemux.yaml.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$SCHEMUX_BACKEND_PASSWORD" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE schemux LOGIN PASSWORD :'password';
CREATE DATABASE app OWNER schemux;
\connect app
CREATE SCHEMA users AUTHORIZATION schemux;
CREATE SCHEMA orders AUTHORIZATION schemux;
SQL
