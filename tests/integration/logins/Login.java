// pgjdbc logs in as the environment says (drivers_login_test.py), asks whose table it sees and
// prints the answer.
import java.sql.DriverManager;
import java.util.Map;
import java.util.Properties;

public class Login {
    private static final Map<String, String> ENVIRONMENT = System.getenv();

    private static void take(Properties properties, String name, String variable) {
        String value = ENVIRONMENT.getOrDefault(variable, "");
        if (!value.isEmpty()) properties.setProperty(name, value);
    }

    public static void main(String[] arguments) {
        var properties = new Properties();
        take(properties, "user", "LOGIN");
        take(properties, "password", "PASSWORD");
        take(properties, "sslmode", "SSLMODE");
        take(properties, "sslrootcert", "ROOT");
        take(properties, "sslcert", "CERT");
        take(properties, "sslkey", "KEY_DER");
        String address = ENVIRONMENT.get("HOST") + ":" + ENVIRONMENT.get("PORT");
        String url = "jdbc:postgresql://" + address + "/users";
        try (var connection = DriverManager.getConnection(url, properties);
                var rows = connection.createStatement().executeQuery(
                    "SELECT service FROM {{tables.who}}")) {
            rows.next();
            System.out.println(rows.getString(1));
        } catch (Exception error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }
}
