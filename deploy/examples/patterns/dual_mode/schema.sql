CREATE SCHEMA IF NOT EXISTS tasks;
CREATE TABLE IF NOT EXISTS tasks.tasks (id serial PRIMARY KEY, title text NOT NULL, via text NOT NULL);
