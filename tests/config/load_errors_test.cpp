// The exact words and places of what a configuration file may not say.
#include "config/load.h"
#include "config/yaml_tree.h"
#include "tests/config/load_support.h"

#include <gtest/gtest.h>

#include <ostream>

namespace schemux::config {
namespace {

struct BadFile {
    std::string name;
    std::string text;
    Lines errors;
};

std::ostream& operator<<(std::ostream& out, const BadFile& file) {
    return out << file.name;
}

class BadFiles : public testing::TestWithParam<BadFile> {};

TEST_P(BadFiles, AreReportedWithPlaceAndReason) {
    const LoadResult result = load_text(GetParam().text);
    EXPECT_EQ(lines_of(result.errors), GetParam().errors);
    EXPECT_FALSE(result.settings.has_value());
}

std::string name_of_case(const testing::TestParamInfo<BadFile>& info) {
    return info.param.name;
}

const std::vector<BadFile> syntax_cases{
    {"UnclosedFlowList",
     base + "pool: [a\n",
     {"f.yaml:4:1: syntax: end of sequence flow not found"}},
    {"UnclosedQuoteBeforeTheEnd",
     base + "workers: \"2\n",
     {"f.yaml:4:12: syntax: a quoted value is not closed"}},
    {"TwoValuesInALine", "a: b: c\n", {"f.yaml:1:5: syntax: illegal map value"}},
    {"TextAfterAValue", base + "workers: \"2\" y\n", {"f.yaml:4:14: syntax: end of map not found"}},
    {"SecondDocument",
     base + "---\nworkers: 2\n",
     {"f.yaml:4:1: syntax: more text after the first YAML document; a configuration is one "
      "document"}},
    {"Directive", base + "%FOO\n", {"f.yaml:4:1: syntax: a line must not begin with '%'"}},
    {"EndOfTransmissionByte",
     base + "log: {}\x04\nfoo: 1\n",
     {"f.yaml:4:8: file: control character; the file must be text"}},
    {"ZeroByte",
     base + std::string("log: \0\n", 7),
     {"f.yaml:4:6: file: control character; the file must be text"}},
    {"Latin1", base + "log: \xe9\n", {"f.yaml:4:6: file: the file is not valid UTF-8"}},
    {"OverlongUtf8", "\xc0\xaf", {"f.yaml:1:1: file: the file is not valid UTF-8"}},
    {"Utf8Surrogate", "\xed\xa0\x80", {"f.yaml:1:1: file: the file is not valid UTF-8"}},
    {"Anchor", base + "pool: &x {}\n", {"f.yaml:4:7: pool: YAML anchors (&name) are not allowed"}},
    {"AnchorOnAScalarInAList",
     base + "listen: [ &x 1 ]\n",
     {"f.yaml:4:11: listen[0]: YAML anchors (&name) are not allowed",
      "f.yaml:4:11: listen[0]: expected keys and values"}},
    {"Alias",
     base + "log: &x {}\nlimits: *x\n",
     {"f.yaml:4:6: log: YAML anchors (&name) are not allowed",
      "f.yaml:5:9: limits: YAML aliases (*name) are not allowed"}},
    {"UnknownAlias",
     base + "log: *x\n",
     {"f.yaml:4:6: syntax: the referenced anchor is not defined"}},
    {"Tags",
     base + "pool: !!map {}\nworkers: !!int 2\n",
     {"f.yaml:4:7: pool: YAML tags (!name) are not allowed",
      "f.yaml:5:10: workers: YAML tags (!name) are not allowed"}},
    {"MergeKey",
     base + "<<: { workers: 2 }\n",
     {"f.yaml:4:1: <<: YAML merge keys (<<) are not allowed"}},
    {"DuplicateKey",
     base + "workers: 1\nworkers: 2\n",
     {"f.yaml:5:1: workers: duplicate key; it is already set at line 4"}},
    {"DuplicateKeyInside",
     base + "pool: { mode: transaction, mode: session }\n",
     {"f.yaml:4:28: pool.mode: duplicate key; it is already set at line 4"}},
    {"DuplicateSection",
     base + "auth: { method: trust }\n",
     {"f.yaml:4:1: auth: duplicate key; it is already set at line 2"}},
    {"ListAsKey", base + "? [a]\n: b\n", {"f.yaml:4:3: file: a key must be a plain word"}},
    {"EmptyKey", base + "\"\": 1\n", {"f.yaml:4:1: file: a key must be a plain word"}},
    {"TooDeep",
     base + "pool: " + std::string(20, '[') + std::string(20, ']'),
     {"f.yaml:4:22: pool[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: nested deeper than 16 "
      "levels"}},
    {"TooLarge", std::string(max_file_bytes + 1, '#'), {"f.yaml:1:1: file: larger than 1 MiB"}},
    {"NotAMapping", "- a\n", {"f.yaml:1:1: file: expected keys and values"}},
    {"JustAWord", "hello\n", {"f.yaml:1:1: file: expected keys and values"}},
};
INSTANTIATE_TEST_SUITE_P(Syntax, BadFiles, testing::ValuesIn(syntax_cases), name_of_case);

const std::vector<BadFile> key_cases{
    {"Empty",
     "",
     {"f.yaml:1:1: backend: required key is missing", "f.yaml:1:1: auth: required key is missing"}},
    {"MissingInASection",
     "backend: { }\nauth:\nservices: [ { schema: x } ]\n",
     {"f.yaml:1:10: backend.dsn: required key is missing",
      "f.yaml:2:1: auth.method: required key is missing",
      "f.yaml:3:13: services[0].name: required key is missing"}},
    {"UnknownKey", base + "colour: red\n", {"f.yaml:4:1: colour: unknown key"}},
    {"UnknownKeyWithSuggestion",
     base + "pool:\n  max_conections: 3\n",
     {"f.yaml:5:3: pool.max_conections: unknown key; did you mean 'max_connections'?"}},
    {"UnknownKeyWithSwappedLetters",
     base + "wrokers: 3\n",
     {"f.yaml:4:1: wrokers: unknown key; did you mean 'workers'?"}},
    {"UnknownKeyInAList",
     base + "listen:\n  - { adress: 127.0.0.1 }\n",
     {"f.yaml:5:7: listen[0].adress: unknown key; did you mean 'address'?"}},
    {"KeyInTheWrongPlace",
     base + "max_connections: 3\n",
     {"f.yaml:4:1: max_connections: unknown key; did you mean 'pool.max_connections'?"}},
    {"DottedKey",
     base + "pool.max_connections: 3\n",
     {"f.yaml:4:1: pool.max_connections: unknown key; write the part after a dot as a key inside "
      "its section"}},
    {"DottedKeyOfAList",
     base + "services[].name: x\n",
     {"f.yaml:4:1: services[].name: unknown key; write the part after a dot as a key inside its "
      "section"}},
    {"KeyWithALineBreak", base + "\"a\\nb\": 1\n", {"f.yaml:4:1: a?b: unknown key"}},
    {"Reserved",
     base + "peers: [ a ]\n",
     {"f.yaml:4:1: peers: reserved for a later version; this version does not act on it"}},
    {"TlsWithoutFiles",
     base + "listen:\n  - { address: 127.0.0.1, tls: { mode: require } }\n",
     {"f.yaml:5:32: listen[0].tls.certificate: TLS needs a certificate",
      "f.yaml:5:32: listen[0].tls.key: TLS needs the certificate's key"}},
    {"TlsWithoutAMode",
     base + "listen:\n  - { address: 127.0.0.1, tls: { certificate: a, key: b } }\n",
     {"f.yaml:5:32: listen[0].tls.mode: required key is missing"}},
    {"SectionWithAValue", base + "pool: 3\n", {"f.yaml:4:7: pool: expected keys and values"}},
    {"SectionWithAList", base + "pool: [ a ]\n", {"f.yaml:4:7: pool: expected keys and values"}},
    {"ListWithAMapping", base + "listen: { port: 1 }\n", {"f.yaml:4:9: listen: expected a list"}},
    {"ListWithAnEmptyEntry",
     base + "listen:\n  -\n",
     {"f.yaml:5:3: listen[0]: expected keys and values"}},
};
INSTANTIATE_TEST_SUITE_P(Keys, BadFiles, testing::ValuesIn(key_cases), name_of_case);

const std::vector<BadFile> value_cases{
    {"LeadingZero",
     base + "pool: { max_connections: 010 }\n",
     {"f.yaml:4:26: pool.max_connections: a number must not start with 0, which YAML 1.1 reads as "
      "octal; found '010'"}},
    {"NotANumber",
     base + "workers: many\n",
     {"f.yaml:4:10: workers: expected a whole decimal number; found 'many'"}},
    {"Hexadecimal",
     base + "workers: 0x10\n",
     {"f.yaml:4:10: workers: expected a whole decimal number; found '0x10'"}},
    {"Negative",
     base + "workers: -1\n",
     {"f.yaml:4:10: workers: expected a whole decimal number; found '-1'"}},
    {"TooBigForAnyInteger",
     base + "workers: 99999999999999999999999\n",
     {"f.yaml:4:10: workers: expected a whole decimal number; found '99999999999999999999999'"}},
    {"TooManyWorkers",
     base + "workers: 65\n",
     {"f.yaml:4:10: workers: must be in the range 1..64; found '65'"}},
    {"NoWorkers",
     base + "workers: 0\n",
     {"f.yaml:4:10: workers: must be in the range 1..64; found '0'"}},
    {"PortZero",
     base + "http: { port: 0 }\n",
     {"f.yaml:4:15: http.port: must be in the range 1..65535; found '0'"}},
    {"PortTooHigh",
     base + "listen: [ { address: 127.0.0.1, port: 65536 } ]\n",
     {"f.yaml:4:39: listen[0].port: must be in the range 1..65535; found '65536'"}},
    {"DurationWithoutUnit",
     base + "drain_timeout: 10\n",
     {"f.yaml:4:16: drain_timeout: expected a duration: a whole number with ms, s, m or h, such "
      "as 250ms or 10s; found '10'"}},
    {"DurationOutOfRange",
     base + "pool: { acquire_timeout: 25h }\n",
     {"f.yaml:4:26: pool.acquire_timeout: must be in the range 1ms..24h; found '25h'"}},
    {"DecimalKilobytes",
     base + "limits: { max_query_bytes: 64KB }\n",
     {"f.yaml:4:28: limits.max_query_bytes: expected a size: a whole number of bytes, or with "
      "KiB, MiB or GiB; found '64KB'"}},
    {"SizeOutOfRange",
     base + "limits: { max_query_bytes: 1GiB }\n",
     {"f.yaml:4:28: limits.max_query_bytes: must be in the range 1KiB..256MiB; found '1GiB'"}},
    {"NoIsNotABoolean",
     "backend: { dsn: x=y }\nauth: { method: trust }\n"
     "services: [ { name: a, templates: { braces: no } } ]\n",
     {"f.yaml:3:45: services[0].templates.braces: expected true or false; found 'no'"}},
    {"UnknownChoice",
     base + "log: { level: loud }\n",
     {"f.yaml:4:15: log.level: expected one of: debug, info, warning, error; found 'loud'"}},
    {"UnknownAudit",
     base + "isolation_audit: true\n",
     {"f.yaml:4:18: isolation_audit: expected one of: off, warn, require; found 'true'"}},
    {"AdminWhoIsNobody",
     "backend: { dsn: x=y }\nauth: { method: trust, users: [ { name: alice } ] }\n"
     "services: [ { name: a } ]\nadmin: { users: [alice, alcie] }\n",
     {"f.yaml:4:25: admin.users[1]: user 'alcie' is not in auth.users"}},
    {"UnknownConsole",
     base + "admin: { users: [a], compat: 1.25 }\n",
     {"f.yaml:4:30: admin.compat: expected one of: legacy, 1.18, 1.24, 1.26; found '1.25'"}},
    {"NoValue",
     base + "workers:\n",
     {"f.yaml:4:1: workers: has no value; leave the key out for the default"}},
    {"NullValue",
     base + "log: { level: ~ }\n",
     {"f.yaml:4:8: log.level: has no value; leave the key out for the default"}},
    {"ListForAScalar",
     base + "workers: [ 1 ]\n",
     {"f.yaml:4:10: workers: expected a single value"}},
    {"EmptyDsn",
     "backend: { dsn: \"\" }\nauth: { method: trust }\nservices: [ { name: a } ]\n",
     {"f.yaml:1:17: backend.dsn: must not be empty; leave the key out instead"}},
    {"ScalarForAList",
     "backend: { dsn: x=y }\nauth: { method: trust }\nservices: [ { name: a, users: bob } ]\n",
     {"f.yaml:3:31: services[0].users: expected a list, such as [a, b]"}},
    {"EmptyUserList",
     "backend: { dsn: x=y }\nauth: { method: trust }\nservices: [ { name: a, users: [] } ]\n",
     {"f.yaml:3:31: services[0].users: the list must not be empty; leave the key out instead"}},
    {"EmptyNameInAList",
     "backend: { dsn: x=y }\nauth: { method: trust }\nservices: [ { name: a, users: [''] } ]\n",
     {"f.yaml:3:32: services[0].users[0]: must not be empty"}},
    {"LongValueIsCut",
     base + "workers: " + std::string(59, 'a') + "\xc3\xa9zzz\n",
     {"f.yaml:4:10: workers: expected a whole decimal number; found '" + std::string(59, 'a') +
      "...'"}},
    {"VariableNotSet",
     base + "http: { address: \"${NO_SUCH}\" }\n",
     {"f.yaml:4:18: http.address: environment variable NO_SUCH is not set"}},
    {"VariableWithDefaultSyntax",
     base + "http: { address: \"${HOST:-x}\" }\n",
     {"f.yaml:4:18: http.address: expected ${NAME} with letters, digits and '_'; '$${' stands for "
      "'${'"}},
    {"VariableNotClosed",
     base + "http: { address: \"${HOST\" }\n",
     {"f.yaml:4:18: http.address: expected ${NAME} with letters, digits and '_'; '$${' stands for "
      "'${'"}},
    {"VariableValueIsNotRepeated",
     base + "workers: ${SECRET}\n",
     {"f.yaml:4:10: workers: expected a whole decimal number; found '${SECRET}'"}},
};
INSTANTIATE_TEST_SUITE_P(Values, BadFiles, testing::ValuesIn(value_cases), name_of_case);

const std::vector<BadFile> rule_cases{
    {"TrustOnEveryAddress",
     base + "listen:\n  - { address: 0.0.0.0, port: 6433 }\n",
     {"f.yaml:5:16: listen[0].address: auth.method trust is allowed only on loopback addresses "
      "and unix sockets, not on 0.0.0.0"}},
    {"MinAboveMax",
     base + "pool:\n  max_connections: 3\n  min_connections: 4\n",
     {"f.yaml:6:20: pool.min_connections: 4 is more than pool.max_connections (3)"}},
    {"MinAboveTheDefaultMax",
     base + "pool: { min_connections: 21 }\n",
     {"f.yaml:4:26: pool.min_connections: 21 is more than pool.max_connections (20)"}},
    {"MinIsNotComparedWithABadMax",
     base + "pool: { max_connections: x, min_connections: 30 }\n",
     {"f.yaml:4:26: pool.max_connections: expected a whole decimal number; found 'x'"}},
    {"ListenerWithoutAddress",
     base + "listen: [ { port: 6433 } ]\n",
     {"f.yaml:4:11: listen[0]: needs address or unix_socket_dir"}},
    {"NoListener", base + "listen: []\n", {"f.yaml:4:9: listen: at least one listener is needed"}},
    {"NoService",
     "backend: { dsn: x=y }\nauth: { method: trust }\nservices: []\n",
     {"f.yaml:3:11: services: at least one service is needed"}},
    {"BrokenPattern",
     "backend: { dsn: x=y }\nauth: { method: trust }\nservices:\n  - name: /(\n",
     {"f.yaml:4:11: services[0].name: is no regular expression: Unmatched marking parenthesis ( or "
      "\\(.  The error occurred while parsing the regular expression: '(>>>HERE>>>'."}},
    {"SettingsThatAreNoMapping",
     "backend: { dsn: x=y }\nauth: { method: trust }\nservices:\n  - name: a\n"
     "    settings: [a]\n",
     {"f.yaml:5:15: services[0].settings: expected names and values, such as {a: 1}"}},
    {"SettingWithoutAValue",
     "backend: { dsn: x=y }\nauth: { method: trust }\nservices:\n  - name: a\n"
     "    settings: { work_mem: }\n",
     {"f.yaml:5:17: services[0].settings.work_mem: has no value; leave the key out for the "
      "default"}},
    {"UnknownUser",
     "backend: { dsn: x=y }\nauth: { method: trust, users: [ { name: al } ] }\n"
     "services: [ { name: a, users: [ al, bo ] } ]\n",
     {"f.yaml:3:37: services[0].users[1]: user 'bo' is not in auth.users"}},
};
INSTANTIATE_TEST_SUITE_P(Rules, BadFiles, testing::ValuesIn(rule_cases), name_of_case);

}  // namespace
}  // namespace schemux::config
