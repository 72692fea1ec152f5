-- Makes a customer: SELECT public.add_customer('acme').
CREATE OR REPLACE FUNCTION public.add_customer(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF name !~ '^[a-z][a-z0-9_]{0,50}$' THEN
        RAISE EXCEPTION 'no name of a customer: %', name;
    END IF;
    EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', 'customer_' || name);
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I.invoices '
                   '(id serial PRIMARY KEY, amount int NOT NULL, '
                   'customer text DEFAULT current_setting(''app.customer''))', 'customer_' || name);
END $$;
