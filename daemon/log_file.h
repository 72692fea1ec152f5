// The file that log lines are appended to, until it is opened again at the same path: behind
// logrotate, which has moved the old one away. A line is written whole, or not at all.
// It must not know what a line says. Thread-safe: the writer writes while another thread reopens.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::daemon {

class LogFile {
  public:
    LogFile() = default;
    LogFile(const LogFile&) = delete;
    LogFile& operator=(const LogFile&) = delete;
    ~LogFile();

    /// What went wrong, if anything: then the file that was open, if any, stays in use.
    std::optional<std::string> open(const std::string& path);
    void close();
    /// `line` ends with its newline. False: there is no file, or no room for it.
    bool write(std::string_view line);

  private:
    std::mutex mutex_;
    int fd_ = -1;
    bool torn_ = false;  ///< the last line has only a part of it there
};

}  // namespace schemux::daemon
