// One check of pgjdbc: `java JdbcChecks NAME PORT`. Exit status 0 when it holds.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.postgresql.PGConnection;
import org.postgresql.util.PSQLException;

public final class JdbcChecks {
    private static final String[] SERVICES = {"users", "orders", "legacy"};
    private static final String[] ZONES = {"Asia/Tokyo", "Europe/Paris", "America/New_York"};
    private static int port;

    private JdbcChecks() {}

    public static void main(String[] arguments) throws Exception {
        port = Integer.parseInt(arguments[1]);
        JdbcChecks.class.getDeclaredMethod(arguments[0]).invoke(null);
    }

    private static Connection connect(String service, String... more) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", "alice");
        properties.setProperty("connectTimeout", "20");
        for (int at = 0; at < more.length; at += 2) {
            properties.setProperty(more[at], more[at + 1]);
        }
        return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + port + "/" + service,
            properties);
    }

    private static void same(Object found, Object expected) {
        if (!String.valueOf(found).equals(String.valueOf(expected))) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    private static String one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
             ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getString(1);
        }
    }

    private static void execute(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    private interface Work {
        void run() throws SQLException;
    }

    private static void fails(String sqlstate, Work work) {
        try {
            work.run();
        } catch (SQLException error) {
            same(error.getSQLState(), sqlstate);
            return;
        }
        throw new AssertionError("no error, expected " + sqlstate);
    }

    static void simpleAndExtended() throws SQLException {
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared",
                                         "extendedCacheEverything"}) {
            for (String service : SERVICES) {
                try (Connection connection = connect(service, "preferQueryMode", mode)) {
                    same(one(connection, "SELECT service FROM {{tables.who}}"), service);
                    try (PreparedStatement asked = connection.prepareStatement(
                             "SELECT service || ? FROM <<tables.who>>")) {
                        asked.setString(1, "!");
                        ResultSet rows = asked.executeQuery();
                        rows.next();
                        same(rows.getString(1), service + "!");
                    }
                }
            }
        }
    }

    static void prepareThreshold() throws SQLException {
        List<Connection> connections = new ArrayList<>();
        List<PreparedStatement> statements = new ArrayList<>();
        for (int number = 0; number < 9; ++number) {
            Connection connection = connect(SERVICES[number % 3], "prepareThreshold", "2");
            connections.add(connection);
            statements.add(connection.prepareStatement(
                "SELECT service, ?::int FROM {{tables.who}}"));
        }
        for (int round = 0; round < 20; ++round) {
            for (int number = 0; number < 9; ++number) {
                statements.get(number).setInt(1, round);
                ResultSet rows = statements.get(number).executeQuery();
                rows.next();
                same(rows.getString(1), SERVICES[number % 3]);
                same(rows.getInt(2), round);
            }
        }
        for (Connection connection : connections) {
            connection.close();
        }
    }

    static void batches() throws SQLException {
        for (String rewrite : new String[] {"false", "true"}) {
            try (Connection connection = connect("users", "reWriteBatchedInserts", rewrite)) {
                connection.setAutoCommit(false);
                try (PreparedStatement insert = connection.prepareStatement(
                         "INSERT INTO {{tables.loaded}} (number, body) VALUES (?, ?)")) {
                    for (int number = 0; number < 1000; ++number) {
                        insert.setInt(1, number);
                        insert.setString(2, "batch " + rewrite);
                        insert.addBatch();
                    }
                    same(insert.executeBatch().length, 1000);
                }
                same(one(connection, "SELECT count(*) FROM users.loaded WHERE body LIKE 'batch%'"),
                    1000);
                connection.rollback();
                same(one(connection, "SELECT count(*) FROM loaded WHERE body LIKE 'batch%'"), 0);
            }
        }
    }

    static void batchWithAnError() throws SQLException {
        try (Connection connection = connect("users")) {
            connection.setAutoCommit(false);
            fails("22012", () -> {
                try (PreparedStatement insert = connection.prepareStatement(
                         "INSERT INTO {{tables.loaded}} (number) VALUES (1 / ?)")) {
                    for (int number = 0; number < 600; ++number) {
                        insert.setInt(1, number == 300 ? 0 : 1);
                        insert.addBatch();
                    }
                    try {
                        insert.executeBatch();
                    } catch (java.sql.BatchUpdateException error) {
                        throw error;
                    }
                }
            });
            connection.rollback();
            same(one(connection, "SELECT count(*) FROM loaded"), 0);
            connection.rollback();
        }
    }

    static void fetchSize() throws SQLException {
        try (Connection connection = connect("orders")) {
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(50);
                ResultSet rows = statement.executeQuery(
                    "SELECT n, service FROM {{tables.who}}, generate_series(1, 1000) n");
                for (int number = 1; number <= 1000; ++number) {
                    rows.next();
                    same(rows.getInt(1), number);
                    same(rows.getString(2), "orders");
                    if (number == 75) {
                        same(one(connection, "SELECT 'between'"), "between");
                    }
                }
                same(rows.next(), false);
            }
            connection.commit();
        }
    }

    static void copyManager() throws Exception {
        try (Connection connection = connect("users")) {
            connection.setAutoCommit(false);
            var copy = connection.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder data = new StringBuilder();
            for (int number = 0; number < 5000; ++number) {
                data.append(number).append("\tcopied\n");
            }
            byte[] bytes = data.toString().getBytes(StandardCharsets.UTF_8);
            same(copy.copyIn("COPY {{tables.loaded}} FROM STDIN", new ByteArrayInputStream(bytes)),
                5000);
            ByteArrayOutputStream back = new ByteArrayOutputStream();
            copy.copyOut("COPY (SELECT * FROM loaded ORDER BY number) TO STDOUT", back);
            same(back.toString(StandardCharsets.UTF_8), data);
            connection.rollback();
        }
    }

    static void cancel() throws Exception {
        try (Connection connection = connect("users"); Connection other = connect("orders");
             Statement sleeping = connection.createStatement()) {
            CountDownLatch ended = new CountDownLatch(1);
            String[] state = new String[1];
            Thread thread = new Thread(() -> {
                try {
                    sleeping.execute("SELECT pg_sleep(60) AS jdbc");
                } catch (SQLException error) {
                    state[0] = error.getSQLState();
                }
                ended.countDown();
            });
            thread.start();
            for (int look = 0; look < 5000; ++look) {
                if (one(other, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                        + "AND query = 'SELECT pg_sleep(60) AS jdbc'").equals("1")) {
                    break;
                }
            }
            sleeping.cancel();
            ended.await();
            same(state[0], "57014");
            same(one(connection, "SELECT 1"), 1);
            try (Statement timed = connection.createStatement()) {
                timed.setQueryTimeout(1);
                fails("57014", () -> timed.execute("SELECT pg_sleep(60)"));
            }
            same(one(connection, "SELECT 1"), 1);
        }
    }

    static void transactions() throws SQLException {
        try (Connection connection = connect("users")) {
            connection.setAutoCommit(false);
            Savepoint savepoint = connection.setSavepoint();
            fails("22012", () -> one(connection, "SELECT 1 / 0"));
            fails("25P02", () -> one(connection, "SELECT 1"));
            connection.rollback(savepoint);
            same(one(connection, "SELECT service FROM {{tables.who}}"), "users");
            connection.commit();
        }
    }


    static void autosave() throws SQLException {
        try (Connection connection = connect("users", "autosave", "always")) {
            connection.setAutoCommit(false);
            for (int round = 0; round < 10; ++round) {
                fails("22012", () -> one(connection, "SELECT 1 / 0"));
                same(one(connection, "SELECT service FROM {{tables.who}}"), "users");
            }
            connection.commit();
        }
    }

    static void validityAndMetadata() throws SQLException {
        try (Connection connection = connect("orders")) {
            for (int round = 0; round < 10; ++round) {
                same(connection.isValid(5), true);
            }
            ResultSet tables = connection.getMetaData().getTables(null, "orders", "who", null);
            same(tables.next(), true);
            same(connection.getSchema(), "orders");
            // It asks for 2 in the startup packet, and then says SET.
            same(one(connection, "SHOW extra_float_digits"), 3);
        }
    }

    /** What a pool of connections does with each that it hands out and takes back. */
    static void pooledReuse() throws Exception {
        List<Thread> threads = new ArrayList<>();
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        for (int number = 0; number < 6; ++number) {
            String service = SERVICES[number % 3];
            String zone = ZONES[number % 3];
            Thread thread = new Thread(() -> {
                try (Connection connection = connect(service)) {
                    for (int round = 0; round < 30; ++round) {
                        reuse(connection, service, zone, round);
                    }
                } catch (Throwable failure) {
                    failures.add(failure);
                }
            });
            threads.add(thread);
            thread.start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        if (!failures.isEmpty()) {
            throw new AssertionError(failures.get(0));
        }
    }

    private static void reuse(Connection connection, String service, String zone, int round)
            throws SQLException {
        same(connection.isValid(5), true);
        same(connection.getSchema(), service.equals("legacy") ? "public" : service);
        same(one(connection, "SHOW default_transaction_read_only"), "off");
        same(one(connection, "SELECT service FROM who"), service);
        same(one(connection, "SELECT coalesce(current_setting('app.round', true), '')"),
            round == 0 ? "" : service + (round - 1));
        execute(connection, "SET app.round = '" + service + round + "'");
        execute(connection, "SET TIME ZONE '" + zone + "'");
        String home = connection.getSchema();
        connection.setSchema("orders");
        connection.setReadOnly(true);
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        connection.setAutoCommit(false);
        same(one(connection, "SELECT service FROM who"), "orders");
        same(one(connection, "SHOW transaction_isolation"), "serializable");
        connection.commit();
        fails("25006", () -> execute(connection, "INSERT INTO ledger (nonce) VALUES ('x')"));
        connection.rollback();
        execute(connection, "SET app.round = 'undone'");
        connection.rollback();
        connection.setAutoCommit(true);
        connection.setReadOnly(false);
        connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        connection.setSchema(home);
        same(one(connection, "SHOW TimeZone"), zone);
        same(one(connection, "SELECT service FROM who"), service);
        same(one(connection, "SELECT current_setting('app.round')"), service + round);
    }

    static void errorPosition() throws SQLException {
        String text = "SELECT nothing FROM {{tables.who}}";
        try (Connection connection = connect("users")) {
            one(connection, text);
        } catch (PSQLException error) {
            same(error.getSQLState(), "42703");
            same(error.getServerErrorMessage().getPosition(), text.indexOf("nothing") + 1);
            return;
        }
        throw new AssertionError("no error");
    }

    static void unknownService() {
        fails("3D000", () -> connect("nobody"));
    }
}
