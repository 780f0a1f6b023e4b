#pragma once

// Files of results, and pictures of them by gnuplot.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace digits {

inline std::ofstream create(const std::filesystem::path& file) {
  std::ofstream out(file);
  if (!out) throw std::runtime_error("cannot write " + file.string());
  return out;
}

/// Writes a gnuplot script, NAME.gp, and runs it where it lies, or says how to. It reads its data from the same
/// directory and draws NAME.png.
inline void draw(const std::filesystem::path& directory, const std::string& name, const std::string& script) {
  create(directory / (name + ".gp")) << script;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(directory);  // so that no path needs quoting in the command
  const std::string command = "gnuplot " + name + ".gp";
  const bool drawn = std::system(("command -v gnuplot >/dev/null && " + command).c_str()) == 0;
  std::filesystem::current_path(before);
  if (drawn)
    std::printf("%s\n", (directory / (name + ".png")).c_str());
  else
    std::printf("No picture: install gnuplot, then run \"%s\" in %s\n", command.c_str(), directory.c_str());
}

}  // namespace digits
