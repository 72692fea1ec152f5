#include "daemon/file_watch.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

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

void FileWatch::watch(const std::string& key, std::vector<std::string> files,
                      std::function<void()> changed) {
    forget(key);
    std::erase(files, std::string());
    if (files.empty()) return;
    std::string state = state_of(files);
    watched_.push_back({key, std::move(files), std::move(changed), std::move(state)});
}

void FileWatch::forget(const std::string& key) {
    std::erase_if(watched_, [&key](const Watched& one) { return one.key == key; });
}

void FileWatch::schedule() {
    timer_.expires_after(look_interval);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (error) return;
        look();
        schedule();
    });
}

void FileWatch::look() {
    std::vector<std::function<void()>> others;
    for (Watched& one : watched_) {
        std::string state = state_of(one.files);
        if (state == one.state) continue;
        one.state = std::move(state);
        others.push_back(one.changed);
    }
    for (const auto& changed : others)
        changed();
}

}  // namespace schemux::daemon
