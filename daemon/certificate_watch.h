// Looks now and then whether the files of the listeners' certificates are other ones, as those who
// renew them leave them, and takes them without a signal. On the control thread.
// It must not know what a certificate is for.
#pragma once

#include "daemon/acceptor.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstddef>
#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace schemux::daemon {

class CertificateWatch {
  public:
    CertificateWatch(boost::asio::io_context& io, Acceptor& acceptor)
        : acceptor_(acceptor), timer_(io) {}

    using Read = std::function<std::variant<TlsPolicy, TlsError>()>;

    /// What the acceptor's listener number `index` has now, which was just read. `files` may have
    /// empty names; where it has no other ones there is nothing to watch. `read`: reads them again.
    void watch(std::size_t index, std::vector<std::string> files, Read read);
    void start() { schedule(); }
    void stop() { timer_.cancel(); }

  private:
    struct Watched {
        std::size_t index = 0;
        std::vector<std::string> files;
        Read read;
        std::string state;  ///< tells whether they are the same as before
    };

    void schedule();
    void look(Watched& watched);

    Acceptor& acceptor_;
    boost::asio::steady_timer timer_;
    std::vector<Watched> watched_;
};

}  // namespace schemux::daemon
