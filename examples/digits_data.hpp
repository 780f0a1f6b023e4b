#pragma once

// The images: the UCI digits that come with the library, or MNIST from a directory of the reader's own.

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "network.hpp"

namespace digits {

constexpr int kClasses = 10;

struct Dataset {
  Shape shape;              // of one image
  Matrix images;            // one a row, 0 (paper) to 1 (ink)
  std::vector<int> labels;  // 0 to 9

  Index size() const { return images.rows(); }
};

struct Split {
  Dataset train, test;
};

[[noreturn]] inline void fail(const std::filesystem::path& file, const std::string& what) {
  throw std::runtime_error(file.string() + " " + what);
}

inline std::ifstream open_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!std::filesystem::is_regular_file(file) || !in) fail(file, "is missing or cannot be read");
  return in;
}

/// The rows of `all` that `order` names in [first, last).
inline Dataset pick(const Dataset& all, const std::vector<Index>& order, Index first, Index last) {
  Dataset part{all.shape, Matrix(last - first, all.images.cols()), {}};
  for (Index i = first; i < last; ++i) {
    const Index row = order[static_cast<std::size_t>(i)];
    part.images.row(i - first) = all.images.row(row);
    part.labels.push_back(all.labels[static_cast<std::size_t>(row)]);
  }
  return part;
}

inline std::vector<Index> in_order(Index size) {
  std::vector<Index> order(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), Index{0});
  return order;
}

inline Dataset first_images(const Dataset& all, Index most) {
  return pick(all, in_order(all.size()), 0, std::min(most, all.size()));
}

/// Shuffles and holds every fifth image back.
inline Split split(const Dataset& all, unsigned seed) {
  std::vector<Index> order = in_order(all.size());
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  const Index held_back = (all.size() + 4) / 5;
  return {pick(all, order, held_back, all.size()), pick(all, order, 0, held_back)};
}

/// 65 whole numbers a line: 8 x 8 pixels from 0 to 16, then the digit.
inline Dataset load_csv(const std::filesystem::path& file) {
  constexpr int kPixels = 64;
  constexpr int kInk = 16;
  std::ifstream in = open_file(file);
  std::vector<float> pixels;
  std::vector<int> labels;
  for (std::string line; std::getline(in, line);) {
    std::istringstream cells(line + ',');
    for (int i = 0; i <= kPixels; ++i) {
      int value = -1;
      char comma = 0;
      if (!(cells >> value >> comma) || comma != ',' || value < 0 || value > (i < kPixels ? kInk : kClasses - 1))
        fail(file, "is wrong in line " + std::to_string(labels.size() + 1) + ", value " + std::to_string(i + 1) +
                       ": a line is 64 pixels from 0 to 16 and a digit, separated by commas");
      if (i < kPixels)
        pixels.push_back(static_cast<float>(value) / kInk);
      else
        labels.push_back(value);
    }
    if (cells.peek() != std::istringstream::traits_type::eof())
      fail(file, "holds more than 65 values in line " + std::to_string(labels.size()));
  }
  const auto rows = static_cast<Index>(labels.size());
  return {{8, 8, 1}, Eigen::Map<Matrix>(pixels.data(), rows, kPixels), std::move(labels)};
}

/// An IDX file of unsigned bytes: its extents and its data.
struct Idx {
  std::vector<std::size_t> extents;
  std::vector<unsigned char> bytes;
};

/// Magic number (0, 0, 8 for unsigned bytes, rank), the extents as big-endian 32-bit numbers, the data.
inline Idx load_idx(const std::filesystem::path& file, std::size_t rank) {
  std::ifstream in = open_file(file);
  std::vector<unsigned char> bytes{std::istreambuf_iterator<char>(in), {}};
  const std::size_t header = 4 + 4 * rank;
  const std::array<unsigned char, 4> magic{0, 0, 8, static_cast<unsigned char>(rank)};
  if (bytes.size() < header)
    fail(file, "holds " + std::to_string(bytes.size()) + " bytes, less than an IDX header: truncated or not IDX");
  if (!std::equal(magic.begin(), magic.end(), bytes.begin()))
    fail(file, "is not an IDX file of unsigned bytes of rank " + std::to_string(rank));

  Idx idx;
  std::size_t left = bytes.size() - header;  // divided, not multiplied: wild extents cannot overflow
  bool complete = true;
  std::string extents;
  for (std::size_t i = 4; i < header; i += 4) {
    const std::size_t extent = std::size_t{bytes[i]} << 24 | std::size_t{bytes[i + 1]} << 16 |
                               std::size_t{bytes[i + 2]} << 8 | std::size_t{bytes[i + 3]};
    complete = complete && extent != 0 && left % extent == 0;
    left = complete ? left / extent : 0;
    idx.extents.push_back(extent);
    extents += (extents.empty() ? "" : " x ") + std::to_string(extent);
  }
  if (!complete || left != 1)
    fail(file, "promises " + extents + " bytes but holds " + std::to_string(bytes.size() - header) +
                   ": truncated or damaged");
  idx.bytes.assign(bytes.begin() + static_cast<std::ptrdiff_t>(header), bytes.end());
  return idx;
}

inline Dataset load_mnist_part(const std::filesystem::path& directory, const std::string& part) {
  const std::filesystem::path image_file = directory / (part + "-images-idx3-ubyte");
  const std::filesystem::path label_file = directory / (part + "-labels-idx1-ubyte");
  const Idx images = load_idx(image_file, 3);
  const Idx labels = load_idx(label_file, 1);
  if (images.extents[0] != labels.extents[0])
    fail(label_file, "holds " + std::to_string(labels.extents[0]) + " labels, but " + image_file.string() + " holds " +
                         std::to_string(images.extents[0]) + " images");
  if (*std::max_element(labels.bytes.begin(), labels.bytes.end()) >= kClasses)
    fail(label_file, "holds a label that is not a digit");

  const Shape shape{static_cast<Index>(images.extents[1]), static_cast<Index>(images.extents[2]), 1};
  const auto rows = static_cast<Index>(images.extents[0]);
  using Bytes = Eigen::Matrix<unsigned char, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return {shape, Eigen::Map<const Bytes>(images.bytes.data(), rows, shape.size()).cast<float>() / 255,
          std::vector<int>(labels.bytes.begin(), labels.bytes.end())};
}

/// The four files of MNIST, under their original names and unpacked.
inline Split load_mnist(const std::filesystem::path& directory) {
  Split mnist{load_mnist_part(directory, "train"), load_mnist_part(directory, "t10k")};
  if (mnist.train.images.cols() != mnist.test.images.cols())
    fail(directory, "holds training and test images of different sizes");
  return mnist;
}

}  // namespace digits
