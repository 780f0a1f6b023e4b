#pragma once

// The command line.

#include <charconv>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#ifndef TENSORNORM_EXAMPLE_DATA
#define TENSORNORM_EXAMPLE_DATA "examples/data"
#endif

namespace digits {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What one example's command line has of its own.
struct Program {
  std::string name;  // of the output directory too: NAME-out
  std::string length_option;
  const char* usage;
};

struct Options {
  bool help = false;
  bool quick = false;
  std::optional<int> length;  // of every training, in the program's unit
  unsigned seed = 1;
  std::filesystem::path out;
  std::filesystem::path data = TENSORNORM_EXAMPLE_DATA;
  std::optional<std::filesystem::path> mnist;
};

template <class Number>
Number parse_number(const std::string& option, const std::string& text, Number smallest) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || value < smallest)
    throw UsageError(option + " needs a whole number from " + std::to_string(smallest) + ", not '" + text + "'");
  return value;
}

inline Options parse_options(const Program& program, const std::vector<std::string>& arguments) {
  Options options;
  options.out = program.name + "-out";
  for (auto argument = arguments.begin(); argument != arguments.end(); ++argument) {
    const std::string& option = *argument;
    const auto value = [&]() -> const std::string& {
      if (argument + 1 == arguments.end()) throw UsageError(option + " needs a value");
      return *++argument;
    };
    if (option == "--help" || option == "-h")
      options.help = true;
    else if (option == "--quick")
      options.quick = true;
    else if (option == program.length_option)
      options.length = parse_number(option, value(), 1);
    else if (option == "--seed")
      options.seed = parse_number(option, value(), 0U);
    else if (option == "--out")
      options.out = value();
    else if (option == "--data")
      options.data = value();
    else if (option == "--mnist")
      options.mnist = value();
    else
      throw UsageError("unknown option '" + option + "'");
  }
  return options;
}

/// main() of an example: `body` with the options.
template <class Body>
int run_program(const Program& program, int count, char** arguments, const Body& body) try {
  const Options options = parse_options(program, {arguments + 1, arguments + count});
  if (options.help)
    std::fputs(program.usage, stdout);
  else
    body(options);
  return 0;
} catch (const UsageError& error) {
  std::fprintf(stderr, "%s: %s\n\n%s", program.name.c_str(), error.what(), program.usage);
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s: %s\n", program.name.c_str(), error.what());
  return 1;
}

}  // namespace digits
