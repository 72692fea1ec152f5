// What the statements of each service have cost, by fingerprint: calls, errors, rows, time. One
// worker writes and reads it, without locks; who else wants it has the worker copy what it needs.
// Bounded for each service and over all of them: where a table is full, what is not used and has
// taken the least time is forgotten, and that is counted. O(1) for each call, whatever clients
// send. It must not know backends or the protocol; times are told from outside.
#pragma once

#include "core/fingerprint.h"

#include <boost/unordered/unordered_flat_map.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

/// Which text the log has of a slow query. Values of parameters are in none of them; literals are
/// in `client` and `rewritten`.
enum class SlowText : std::uint8_t { fingerprint, client, rewritten, none };

/// What a worker watches of statements.
struct StatementPolicy {
    std::size_t statements = 0;               ///< of each service that are counted; 0: none
    std::chrono::milliseconds slow_query{0};  ///< from then on it is told of; 0: never
    SlowText slow_text = SlowText::fingerprint;
    std::chrono::milliseconds long_lease{0};  ///< the same of who has a backend
};

struct StatementFigures {
    std::uint64_t calls = 0;  ///< failed ones too
    std::uint64_t errors = 0;
    std::uint64_t rows = 0;
    std::chrono::nanoseconds total{0};    ///< on a backend
    std::chrono::nanoseconds longest{0};  ///< of one call
    std::chrono::nanoseconds wait{0};     ///< for a backend

    void add(const StatementFigures& other);
};

struct StatementLine {
    std::string service;
    std::uint64_t id = 0;  ///< of the fingerprint
    std::string text;      ///< as it came from clients, in whatever encoding
    StatementFigures figures;
};

/// What had to make room.
struct ForgottenStatements {
    std::uint64_t times = 0;  ///< the same statement may be forgotten again
    StatementFigures figures;
};

/// A service's table; what is in it is StatementStats' business.
struct ServiceStatements {
    struct Entry {
        FingerprintRef fingerprint;
        StatementFigures figures;
        bool lately = false;  ///< called since it was last looked at for room
    };
    std::string name;
    std::size_t clients = 0;
    std::size_t place = 0;  ///< among the services
    std::vector<Entry> entries;
    boost::unordered_flat_map<std::uint64_t, std::uint32_t> places;  ///< of ids in `entries`
    std::size_t hand = 0;
    ForgottenStatements forgotten;
};

class StatementStats {
  public:
    void configure(const StatementPolicy& policy);
    const StatementPolicy& policy() const { return policy_; }
    /// Somebody wants to know of statements, in whatever service.
    bool wanted() const { return wanted_; }

    /// A client of the service is there, until `leave`.
    ServiceStatements& join(std::string_view service);
    void leave(ServiceStatements& service);

    struct Reading {
        FingerprintRef fingerprint;
        bool traced = false;  ///< FingerprintReader::traced()
    };
    Reading read(const ServiceStatements& service, std::string_view text,
                 bool standard_conforming_strings);
    /// Of a text that nobody can read for sure, or that is too long for it.
    Reading unread(const ServiceStatements& service, std::string_view why);

    /// One call or several; nothing where nothing is counted.
    void count(ServiceStatements& service, const FingerprintRef& fingerprint,
               const StatementFigures& figures);

    /// Those that took the most time, that first; of one service, or of all where none is named.
    std::vector<StatementLine> top(std::size_t most, std::string_view service = {}) const;
    ForgottenStatements forgotten(std::string_view service = {}) const;
    std::size_t size() const { return size_; }

  private:
    Reading found(const ServiceStatements& service);
    ServiceStatements::Entry& place_for(ServiceStatements& service, const FingerprintRef& what);
    void take_from_others();
    std::size_t least(ServiceStatements& service);
    void forget(ServiceStatements& service, std::size_t at);
    void note_forgotten(ServiceStatements& service, const ServiceStatements::Entry& entry);
    void drop_if_empty(ServiceStatements& service);

    StatementPolicy policy_;
    bool wanted_ = false;
    FingerprintReader reader_;
    std::vector<std::unique_ptr<ServiceStatements>> services_;
    boost::unordered_flat_map<std::string, ServiceStatements*> by_name_;
    std::size_t size_ = 0;
    std::size_t next_ = 0;  ///< service to be looked at for room
    ForgottenStatements forgotten_;
};

/// A client of a service, for as long as it is there.
class CountedClient {
  public:
    CountedClient(StatementStats& statistics, std::string_view service)
        : statistics_(statistics), table_(statistics.join(service)) {}
    ~CountedClient() { statistics_.leave(table_); }
    CountedClient(const CountedClient&) = delete;
    CountedClient& operator=(const CountedClient&) = delete;

    ServiceStatements& table() { return table_; }

  private:
    StatementStats& statistics_;
    ServiceStatements& table_;
};

/// The same of several workers: the figures of one statement of one service are added up. What was
/// not among the first of its worker is missing.
std::vector<StatementLine> merge(std::vector<std::vector<StatementLine>> workers, std::size_t most);

}  // namespace schemux::core
