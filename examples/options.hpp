#pragma once

// The command line.

#include <charconv>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#ifndef TENSORNORM_EXAMPLE_DATA
#define TENSORNORM_EXAMPLE_DATA "examples/data"
#endif

namespace digits {

constexpr const char* kUsage =
    R"(Trains two small networks on handwritten digits, without and with each normalization layer.

usage: digits [options]
  --quick       a few seconds: 600 images, 2 epochs
  --epochs N    epochs of every network
  --seed N      split, first weights and batches (default 1)
  --out DIR     where curves.csv, curves.gp and curves.png go (default digits-out)
  --data DIR    where digits.csv lies (default: the source tree's examples/data)
  --mnist DIR   train on MNIST instead, which takes minutes; DIR holds, unpacked, train-images-idx3-ubyte,
                train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte
  --help        this text
)";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  bool help = false;
  bool quick = false;
  std::optional<int> epochs;
  unsigned seed = 1;
  std::filesystem::path out = "digits-out";
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

inline Options parse_options(const std::vector<std::string>& arguments) {
  Options options;
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
    else if (option == "--epochs")
      options.epochs = parse_number(option, value(), 1);
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

}  // namespace digits
