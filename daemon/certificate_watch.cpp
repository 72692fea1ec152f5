#include "daemon/certificate_watch.h"

#include "daemon/log.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>
#include <variant>

namespace schemux::daemon {

namespace {

constexpr auto look_interval = std::chrono::seconds(2);

/// Of the file behind a link: who exchanges links exchanges files.
std::string state_of(const std::string& name) {
    struct stat found {};
    if (::stat(name.c_str(), &found) != 0) return "-;";
    const auto number = [](auto value) { return std::to_string(value) + ','; };
    return number(found.st_dev) + number(found.st_ino) + number(found.st_size) +
           number(found.st_mtim.tv_sec) + number(found.st_mtim.tv_nsec) + ';';
}

std::string state_of(const std::vector<std::string>& files) {
    std::string all;
    for (const std::string& name : files)
        all += state_of(name);
    return all;
}

}  // namespace

void CertificateWatch::watch(std::size_t index, std::vector<std::string> files, Read read) {
    std::erase_if(watched_, [index](const Watched& one) { return one.index == index; });
    std::erase(files, std::string());
    if (files.empty()) return;
    std::string state = state_of(files);
    watched_.push_back({index, std::move(files), std::move(read), std::move(state)});
}

void CertificateWatch::schedule() {
    timer_.expires_after(look_interval);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (error) return;
        for (Watched& one : watched_)
            look(one);
        schedule();
    });
}

/// A certificate whose key is still on its way does not fit it: the old ones stay until it came.
void CertificateWatch::look(Watched& watched) {
    std::string state = state_of(watched.files);
    if (state == watched.state) return;
    watched.state = std::move(state);
    auto made = watched.read();
    const std::string& name = watched.files.front();
    if (const auto* wrong = std::get_if<TlsError>(&made)) {
        log_event(LogLevel::warning, "certificate_not_renewed",
                  {{"certificate", name}, {"error", wrong->message}});
        return;
    }
    acceptor_.set_tls(watched.index, std::get<TlsPolicy>(std::move(made)));
    log_event(LogLevel::info, "certificate_renewed", {{"certificate", name}});
}

}  // namespace schemux::daemon
