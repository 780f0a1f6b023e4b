#pragma once

// One line that says how far a program has come.

#include <cstdio>
#include <mutex>
#include <string>

#include <unistd.h>

namespace digits {

/// May be called by several threads at once.
class Progress {
 public:
  /// Takes the place of the line before; nothing where the output is no terminal.
  void show(const std::string& text) {
    if (!terminal_) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    std::printf("\r\033[K%s", text.c_str());
    std::fflush(stdout);
  }

  /// Stays, above the line that comes next.
  void keep(const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::printf("%s%s\n", terminal_ ? "\r\033[K" : "", text.c_str());
    std::fflush(stdout);
  }

 private:
  const bool terminal_ = isatty(STDOUT_FILENO) == 1;
  std::mutex mutex_;
};

}  // namespace digits
