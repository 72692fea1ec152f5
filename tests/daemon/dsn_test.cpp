// A DSN means to schemux what it means to psql: every source that libpq knows, in its order.
#include "daemon/dsn.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace schemux::daemon {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

// Nothing of the machine's own environment or home may decide a test.
class Dsn : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "schemux-dsn-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
        for (const char* variable :
             {"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE",
              "PGSERVICE", "PGAPPNAME", "PGOPTIONS", "PGTARGETSESSIONATTRS", "PGCONNECT_TIMEOUT",
              "PGCHANNELBINDING", "PGREQUIREPEER", "PGGSSENCMODE", "PGCLIENTENCODING"}) {
            unsetenv(variable);
        }
        set("PGPASSFILE", write("pass", ""));
        set("PGSERVICEFILE", write("services", ""));
        set("PGSYSCONFDIR", folder_);
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string write(const std::string& name, const std::string& text) const {
        const std::string path = folder_ + "/" + name;
        std::ofstream(path) << text;
        chmod(path.c_str(), 0600);
        return path;
    }
    static void set(const char* name, const std::string& value) {
        setenv(name, value.c_str(), 1);
        // Left set: every test starts by clearing or replacing all of them.
    }

    std::string folder_;
};

BackendTarget resolved(const std::string& dsn, const std::optional<std::string>& password = {}) {
    auto result = resolve_dsn(dsn, password);
    if (const auto* error = std::get_if<DsnError>(&result)) {
        ADD_FAILURE() << error->message;
        BackendTarget nothing;
        nothing.hosts.emplace_back();
        return nothing;
    }
    return std::get<BackendTarget>(result);
}

std::string error_of(const std::string& dsn) {
    const auto result = resolve_dsn(dsn);
    const auto* error = std::get_if<DsnError>(&result);
    return error == nullptr ? "(no error)" : error->message;
}

TEST_F(Dsn, KeepAliveIsAsTheDsnSays) {
    EXPECT_EQ(resolved("host=a").keep_alive, KeepAlive{});
    EXPECT_EQ(resolved("host=a keepalives=0 keepalives_idle=1 keepalives_interval=2 "
                       "keepalives_count=4 tcp_user_timeout=5000")
                  .keep_alive,
              (KeepAlive{false, 1, 2, 4, 5000}));
    EXPECT_EQ(error_of("host=a keepalives_idle=soon"),
              "invalid integer value \"soon\" for connection option \"keepalives_idle\"");
}

TEST_F(Dsn, ConninfoGivesEveryField) {
    const auto target = resolved(
        "host=db.example port=6000 dbname=app user=u password='p w' sslmode=disable "
        "application_name=a options='-c geqo=off' client_encoding=UTF8 connect_timeout=1 "
        "target_session_attrs=read-write");
    EXPECT_EQ(target.hosts, (std::vector{HostPort{"db.example", "db.example", 6000, "p w"}}));
    EXPECT_EQ(target.dbname, "app");
    EXPECT_EQ(target.user, "u");
    EXPECT_EQ(target.settings, (Settings{{"application_name", "a"},
                                         {"options", "-c geqo=off"},
                                         {"client_encoding", "UTF8"}}));
    EXPECT_EQ(target.sslmode, SslMode::disable);
    EXPECT_EQ(target.target_session_attrs, TargetSessionAttrs::read_write);
    EXPECT_EQ(target.connect_timeout_s, 2U);  // libpq's minimum
    EXPECT_TRUE(target.warnings.empty());
}

TEST_F(Dsn, UriIsDecoded) {
    const auto target =
        resolved("postgresql://us%40er:p%2Fw@[::1]:6001/ap%20p?sslmode=disable&application_name=x");
    EXPECT_EQ(target.hosts, (std::vector{HostPort{"::1", "::1", 6001, "p/w"}}));
    EXPECT_EQ(target.dbname, "ap p");
    EXPECT_EQ(target.user, "us@er");
    EXPECT_EQ(target.hosts[0].to_string(), "[::1]:6001");
}

TEST_F(Dsn, SeveralHostsKeepTheirOrderAndPorts) {
    const auto target =
        resolved("postgres://u@a:1,b,%2Frun%2Fpg:3/app?target_session_attrs=prefer-standby");
    // A port left out of a list of ports is the default one.
    EXPECT_EQ(target.hosts, (std::vector{HostPort{"a", "a", 1, ""}, HostPort{"b", "b", 5432, ""},
                                         HostPort{"/run/pg", "/run/pg", 3, ""}}));
    EXPECT_TRUE(target.hosts[2].is_unix());
    EXPECT_EQ(target.hosts[2].to_string(), "/run/pg/.s.PGSQL.3");
    EXPECT_EQ(target.target_session_attrs, TargetSessionAttrs::prefer_standby);
}

TEST_F(Dsn, OnePortServesAllHosts) {
    const auto target = resolved("host=a,b port=7 user=u");
    EXPECT_EQ(target.hosts, (std::vector{HostPort{"a", "a", 7, ""}, HostPort{"b", "b", 7, ""}}));
}

TEST_F(Dsn, EmptyHostInAListIsTheDefaultSocketFolder) {
    const auto target = resolved("host=a,,c port=1,,3 user=u");
    ASSERT_EQ(target.hosts.size(), 3U);
    EXPECT_EQ(target.hosts[0], (HostPort{"a", "a", 1, ""}));
    EXPECT_TRUE(target.hosts[1].is_unix());
    EXPECT_EQ(target.hosts[1].port, 5432);
    EXPECT_EQ(target.hosts[2], (HostPort{"c", "c", 3, ""}));
}

TEST_F(Dsn, HostaddrIsConnectedToAndHostIsTheName) {
    const auto target = resolved("host=a,b hostaddr=127.0.0.1,::1 user=u");
    EXPECT_EQ(target.hosts,
              (std::vector{HostPort{"a", "127.0.0.1", 5432, ""}, HostPort{"b", "::1", 5432, ""}}));
    const auto bare = resolved("hostaddr=127.0.0.1 user=u");
    EXPECT_EQ(bare.hosts, (std::vector{HostPort{"127.0.0.1", "127.0.0.1", 5432, ""}}));
}

TEST_F(Dsn, DatabaseDefaultsToTheUser) {
    EXPECT_EQ(resolved("host=a user=u").dbname, "u");
}

TEST_F(Dsn, EnvironmentFillsWhatIsMissing) {
    set("PGHOST", "env-a,env-b");
    set("PGPORT", "11,12");
    set("PGUSER", "env-user");
    set("PGDATABASE", "env-db");
    set("PGPASSWORD", "env-password");
    set("PGAPPNAME", "env-app");
    set("PGTARGETSESSIONATTRS", "primary");
    const auto target = resolved("dbname=mine");
    EXPECT_EQ(target.hosts, (std::vector{HostPort{"env-a", "env-a", 11, "env-password"},
                                         HostPort{"env-b", "env-b", 12, "env-password"}}));
    EXPECT_EQ(target.dbname, "mine");
    EXPECT_EQ(target.user, "env-user");
    EXPECT_EQ(target.settings, (Settings{{"application_name", "env-app"}}));
    EXPECT_EQ(target.target_session_attrs, TargetSessionAttrs::primary);
    EXPECT_EQ(resolved("").dbname, "env-db");
}

TEST_F(Dsn, PassfileIsAskedForEachHost) {
    set("PGPASSFILE", write("pass",
                            "a:*:app:u:for-a\n"
                            "b:7:app:u:for-b\n"
                            "localhost:7:app:u:for-socket\n"));
    const auto target = resolved("host=a,b,,d port=7 dbname=app user=u");
    ASSERT_EQ(target.hosts.size(), 4U);
    EXPECT_EQ(target.hosts[0].password, "for-a");
    EXPECT_EQ(target.hosts[1].password, "for-b");
    EXPECT_EQ(target.hosts[2].password, "for-socket");  // the manual: default folder = localhost
    EXPECT_EQ(target.hosts[3].password, "");
    EXPECT_EQ(resolved("host=a dbname=other user=u").hosts[0].password, "");
}

TEST_F(Dsn, PasswordFileOfTheConfigurationWins) {
    set("PGPASSWORD", "env-password");
    set("PGPASSFILE", write("pass", "*:*:*:*:from-passfile\n"));
    EXPECT_EQ(resolved("host=a,b user=u password=in-dsn", "given").hosts[1].password, "given");
    EXPECT_EQ(resolved("host=a user=u password=in-dsn").hosts[0].password, "in-dsn");
    EXPECT_EQ(resolved("host=a user=u").hosts[0].password, "env-password");
}

TEST_F(Dsn, ServiceFileFillsWhatIsMissing) {
    set("PGSERVICEFILE", write("services",
                               "[one]\nhost=svc-a,svc-b\nport=9\nuser=svc\ndbname=svc-db\n"
                               "application_name=svc-app\n[two]\nhost=other\n"));
    set("PGUSER", "env-user");  // the service comes before the environment
    const auto target = resolved("service=one dbname=mine");
    EXPECT_EQ(target.hosts,
              (std::vector{HostPort{"svc-a", "svc-a", 9, ""}, HostPort{"svc-b", "svc-b", 9, ""}}));
    EXPECT_EQ(target.user, "svc");
    EXPECT_EQ(target.dbname, "mine");
    EXPECT_EQ(target.settings, (Settings{{"application_name", "svc-app"}}));
    set("PGSERVICE", "two");
    EXPECT_EQ(resolved("").hosts[0].host, "other");
}

TEST_F(Dsn, MissingServiceIsAnError) {
    EXPECT_NE(error_of("service=nowhere").find("\"nowhere\" not found"), std::string::npos);
}

TEST_F(Dsn, TlsIsAsSslmodeSays) {
    EXPECT_EQ(resolved("host=a user=u sslmode=disable").tls, nullptr);
    EXPECT_EQ(resolved("host=a user=u sslmode=require").sslmode, SslMode::require);
    for (const std::string mode : {"allow", "prefer", "require"})
        EXPECT_FALSE(resolved("host=a user=u sslmode=" + mode).tls->verifies_name());
    EXPECT_EQ(resolved("host=a user=u channel_binding=require sslmode=require").channel_binding,
              core::ChannelBinding::required);
    EXPECT_FALSE(resolved("host=a user=u sslsni=0").sni);
}

TEST_F(Dsn, WhatWouldVerifyNothingIsAnError) {
    for (const std::string mode : {"verify-ca", "verify-full"}) {
        EXPECT_EQ(error_of("host=a user=u sslmode=" + mode),
                  "sslmode=" + mode + " needs sslrootcert: the file with whom to believe");
    }
    set("PGSSLMODE", "verify-full");
    EXPECT_NE(error_of("host=a user=u").find("needs sslrootcert"), std::string::npos);
    EXPECT_NE(error_of("host=a sslmode=disable channel_binding=require").find("needs TLS"),
              std::string::npos);
    EXPECT_NE(error_of("host=a sslmode=require sslrootcert=/nowhere.crt").find("/nowhere.crt"),
              std::string::npos);
    EXPECT_EQ(error_of("host=a sslmode=require sslcert=/a.crt"),
              "sslcert and sslkey belong together");
    EXPECT_NE(error_of("host=a sslmode=require sslcrl=/a.crl").find("sslrootcert"),
              std::string::npos);
}

TEST_F(Dsn, OtherSecurityOptionsAreRefusedRatherThanIgnored) {
    EXPECT_EQ(error_of("host=/tmp user=u requirepeer=postgres"), "requirepeer is not supported");
    EXPECT_EQ(error_of("host=/tmp user=u replication=database"), "replication is not supported");
}

TEST_F(Dsn, PreferWarnsOnlyWhereThereIsANetwork) {
    EXPECT_EQ(resolved("host=a user=u sslmode=prefer").warnings.size(), 1U);
    EXPECT_EQ(resolved("host=a user=u sslmode=require").warnings.size(), 1U);
    EXPECT_EQ(resolved("host=a user=u sslmode=allow").sslmode, SslMode::allow);
    EXPECT_EQ(resolved("host=/tmp,10.0.0.1 user=u").warnings.size(), 1U);
    EXPECT_TRUE(resolved("host=/tmp user=u").warnings.empty());
    EXPECT_TRUE(resolved("host=localhost,127.0.0.1,::1 user=u").warnings.empty());
    EXPECT_TRUE(resolved("host=a user=u sslmode=disable").warnings.empty());
}

TEST_F(Dsn, InvalidValuesAreErrors) {
    EXPECT_NE(error_of("host=a sslmode=maybe").find("sslmode"), std::string::npos);
    EXPECT_NE(error_of("host=a target_session_attrs=fast").find("\"fast\""), std::string::npos);
    EXPECT_NE(error_of("host=a port=70000").find("70000"), std::string::npos);
    EXPECT_NE(error_of("host=a port=0").find("invalid port"), std::string::npos);
    EXPECT_NE(error_of("host=a,b port=1,2,3").find("port"), std::string::npos);
    EXPECT_NE(error_of("host=a connect_timeout=soon").find("soon"), std::string::npos);
    EXPECT_NE(error_of("host=a hots=b").find("hots"), std::string::npos);
    EXPECT_NE(error_of("just-a-name").find("missing"), std::string::npos);
    EXPECT_EQ(error_of("host=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"), "more than 16 hosts");
}

TEST_F(Dsn, ErrorsNeverShowAPassword) {
    for (const std::string dsn :
         {"host=a password=first s3cret", "host=a password=x s3cret=1", "host=a password='s3cret",
          "postgres://u:s3cret@[::1/app", "postgres://u:s3cret@h/app?x=1",
          "postgres://u:s3cret@h/app?s3cret", "postgres://u:s3cret%zz@h/app",
          "host=a password=s3cret port=x", "host=a password=s3cret sslmode=verify-ca",
          "host=a password=s3cret target_session_attrs=x"}) {
        const std::string message = error_of(dsn);
        EXPECT_NE(message, "(no error)") << dsn;
        EXPECT_EQ(message.find("s3cret"), std::string::npos) << message;
    }
}

TEST(Addresses, NumericHostGivesItsOneAddress) {
    const auto result = resolve_addresses(HostPort{"x", "127.0.0.1", 5433, ""});
    const auto& list = std::get<std::vector<SocketAddress>>(result);
    ASSERT_EQ(list.size(), 1U);
    ASSERT_EQ(list[0].family(), AF_INET);
    EXPECT_EQ(list[0].length, sizeof(sockaddr_in));
    EXPECT_EQ(reinterpret_cast<const sockaddr_in*>(list[0].get())->sin_port, htons(5433));
}

TEST(Addresses, UnixFolderGivesTheSocketsPath) {
    const auto result = resolve_addresses(HostPort{"/run/pg", "/run/pg", 5433, ""});
    const auto& list = std::get<std::vector<SocketAddress>>(result);
    ASSERT_EQ(list.size(), 1U);
    ASSERT_EQ(list[0].family(), AF_UNIX);
    EXPECT_STREQ(reinterpret_cast<const sockaddr_un*>(list[0].get())->sun_path,
                 "/run/pg/.s.PGSQL.5433");
}

TEST(Addresses, AbstractSocketStartsWithAZeroByte) {
    const auto result = resolve_addresses(HostPort{"@pg", "@pg", 1, ""});
    const auto& address = std::get<std::vector<SocketAddress>>(result).at(0);
    const auto* path = reinterpret_cast<const sockaddr_un*>(address.get())->sun_path;
    const std::size_t size = address.length - offsetof(sockaddr_un, sun_path);
    EXPECT_EQ(std::string_view(path, size), std::string_view("\0pg/.s.PGSQL.1", 14));
}

TEST(Addresses, TooLongSocketPathIsAnError) {
    const std::string folder = "/" + std::string(100, 'x');
    const auto result = resolve_addresses(HostPort{folder, folder, 5432, ""});
    EXPECT_TRUE(std::holds_alternative<DsnError>(result));
}

TEST(Addresses, UnknownHostIsAnError) {
    // ".invalid" never exists (RFC 6761).
    const auto result = resolve_addresses(HostPort{"nowhere.invalid", "nowhere.invalid", 1, ""});
    ASSERT_TRUE(std::holds_alternative<DsnError>(result));
    EXPECT_NE(std::get<DsnError>(result).message.find("nowhere.invalid"), std::string::npos);
}

}  // namespace
}  // namespace schemux::daemon
