// Tensors for the tests: any rank and layout over one logical order, guards round every buffer, bits compared as bits.
// Loops over elements are in tensors.cpp, which is optimized also where the tests are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include <Eigen/Core>
#include <unsupported/Eigen/CXX11/Tensor>

// macro(Scalar) for each scalar of a tensor.
#define TENSORNORM_TEST_FOR_EACH_SCALAR(macro) macro(float) macro(double) macro(Eigen::half) macro(Eigen::bfloat16)

namespace tensornorm_test {

using Eigen::Index;
using Extents = std::vector<Index>;
using Values = std::vector<double>;  // of a tensor: always row-major over the logical axes, whatever the storage

Index count(const Extents& extents);

template <class Scalar>
std::string name_of() {
  if (std::is_same_v<Scalar, float>) return "float";
  if (std::is_same_v<Scalar, double>) return "double";
  if (std::is_same_v<Scalar, Eigen::half>) return "half";
  return "bfloat16";
}

/// Names the scalars of a typed test.
struct ScalarNames {
  template <class Scalar>
  static std::string GetName(int) {
    return name_of<Scalar>();
  }
};

inline std::string layout_name(int layout) { return layout == Eigen::RowMajor ? "RowMajor" : "ColMajor"; }

std::string text(const Extents& extents);

template <class Scalar>
double to_double(Scalar v) {
  if constexpr (sizeof(Scalar) == 2) {
    return double(static_cast<float>(v));
  } else {
    return double(v);
  }
}

template <class Scalar>
Scalar from_double(double v) {
  if constexpr (sizeof(Scalar) == 2) {
    return Scalar(float(v));
  } else {
    return Scalar(v);
  }
}

/// The storage position of every element, elements in row-major order of the logical axes.
std::vector<Index> storage_positions(const Extents& extents, int layout);

/// The values of a tensor whose axes are those of `values`, permuted: axis a of the result is axis order[a].
Values permuted(const Values& values, const Extents& extents, const std::vector<int>& order);

Values normal(Index n, unsigned seed, double mean = 0, double sigma = 1);

/// The values of a dense tensor, to and from its memory.
template <class Scalar>
void put_values(const Values& values, const Extents& extents, int layout, Scalar* data);
template <class Scalar>
Values get_values(const Scalar* data, const Extents& extents, int layout);

bool all_bits_set(const unsigned char* bytes, std::size_t size);

/// A dense tensor in memory of our own, 64-byte aligned plus `misalign` elements. Guards before and after hold all bits
/// set, NaN in every format, and so does an output before it is written: reading or writing a guard, and leaving an
/// element unwritten, all show.
template <class Scalar, int Rank, int Layout>
class Guarded {
 public:
  using Tensor = Eigen::Tensor<Scalar, Rank, Layout>;
  using Map = Eigen::TensorMap<Tensor>;

  explicit Guarded(const Extents& extents, Index misalign = 0)
      : extents_(extents), size_(count(extents)), bytes_(std::size_t(size_ + misalign) * sizeof(Scalar) + 3 * kGuard) {
    std::memset(bytes_.data(), 0xff, bytes_.size());
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    begin_ = kGuard + (64 - address % 64) % 64 + std::size_t(misalign) * sizeof(Scalar);
  }

  Guarded(const Extents& extents, const Values& values, Index misalign = 0) : Guarded(extents, misalign) {
    assign(values);
  }

  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  void assign(const Values& values) { put_values(values, extents_, Layout, data()); }
  Values values() const { return get_values(data(), extents_, Layout); }

  Scalar* data() { return reinterpret_cast<Scalar*>(bytes_.data() + begin_); }
  const Scalar* data() const { return reinterpret_cast<const Scalar*>(bytes_.data() + begin_); }

  Map map() {
    Eigen::DSizes<Index, Rank> dimensions;
    for (int a = 0; a < Rank; ++a) dimensions[std::size_t(a)] = extents_[std::size_t(a)];
    return Map(data(), dimensions);
  }

  bool guards_intact() const {
    const std::size_t end = begin_ + std::size_t(size_) * sizeof(Scalar);
    return all_bits_set(bytes_.data(), begin_) && all_bits_set(bytes_.data() + end, bytes_.size() - end);
  }

  bool same_bits(const Guarded& other) const {
    return size_ == other.size_ &&
           (size_ == 0 || std::memcmp(data(), other.data(), std::size_t(size_) * sizeof(Scalar)) == 0);
  }

 private:
  static constexpr std::size_t kGuard = 128;  // two cache lines: a whole AVX-512 vector too far still lands inside

  Extents extents_;
  Index size_;
  std::vector<unsigned char> bytes_;
  std::size_t begin_ = 0;
};

/// Parameters and statistics (Eigen arrays) to and from plain values.
template <class Array>
Values values_of(const Array& array) {
  Values values(std::size_t(array.size()));
  for (Index i = 0; i < array.size(); ++i) values[std::size_t(i)] = double(array[i]);
  return values;
}

template <class Array>
void assign(Array& array, const Values& values) {
  using Param = typename Array::Scalar;
  array.resize(Index(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) array[Index(i)] = Param(values[i]);
}

template <class Array>
bool same_bits(const Array& a, const Array& b) {
  return a.size() == b.size() &&
         (a.size() == 0 || std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(*a.data())) == 0);
}

}  // namespace tensornorm_test
