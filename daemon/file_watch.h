// Looks now and then whether files are other ones than before, as those who renew them leave them,
// so that they are taken without a signal. On the control thread.
// It must not know what is in them.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <string>
#include <vector>

namespace schemux::daemon {

class FileWatch {
  public:
    explicit FileWatch(boost::asio::io_context& io) : timer_(io) {}

    /// What is watched under `key` from now on, as the files are at this moment; in place of what
    /// was. Empty names are left out. `changed` may watch and forget as it likes.
    void watch(const std::string& key, std::vector<std::string> files,
               std::function<void()> changed);
    void forget(const std::string& key);
    void start() { schedule(); }
    void stop() { timer_.cancel(); }

  private:
    struct Watched {
        std::string key;
        std::vector<std::string> files;
        std::function<void()> changed;
        std::string state;  ///< tells whether they are the same as before
    };

    void schedule();
    void look();

    boost::asio::steady_timer timer_;
    std::vector<Watched> watched_;
};

}  // namespace schemux::daemon
