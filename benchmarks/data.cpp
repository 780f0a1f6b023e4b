#include "data.hpp"

#include <array>
#include <cstring>
#include <new>
#include <random>

#include "scalar.hpp"

namespace bench {

namespace {

std::size_t param_bytes(const Cell& cell) {
  return static_cast<std::size_t>(cell.c) * (cell.scalar == Scalar::kDouble ? 8 : 4);
}

/// Normal numbers; a short period, because only their order of magnitude can matter to the time.
void fill(void* array, Scalar scalar, Index count, unsigned seed, double mean, double std) {
  std::mt19937 bits(seed);
  std::normal_distribution<double> normal;
  std::array<double, 10007> period;
  for (double& value : period) value = mean + std * normal(bits);
  with_type(scalar, [&](auto zero) {
    using T = decltype(zero);
    T* const values = static_cast<T*>(array);
    for (Index i = 0; i < count; ++i) {
      const double value = period[static_cast<std::size_t>(i) % period.size()];
      if constexpr (sizeof(T) == 2) {
        values[i] = static_cast<T>(static_cast<float>(value));
      } else {
        values[i] = static_cast<T>(value);
      }
    }
  });
}

}  // namespace

Memory::Memory(std::size_t bytes, std::size_t shift) : data_(nullptr, &std::free), shift_(shift) {
  constexpr std::size_t kLine = 64;
  const std::size_t whole = (bytes + shift + kLine - 1) / kLine * kLine;
  data_.reset(std::aligned_alloc(kLine, whole));
  if (data_ == nullptr) throw std::bad_alloc();
  std::memset(data_.get(), 0, whole);
}

Data::Data(const Cell& cell, const Distribution& distribution, std::size_t shift)
    : x_(cell.bytes(), shift), dy_(cell.pass == Pass::kBackward ? cell.bytes() : 0, shift), y_(cell.bytes(), shift),
      gamma_(param_bytes(cell)), beta_(param_bytes(cell)), running_mean_(param_bytes(cell)),
      running_var_(param_bytes(cell)) {
  const Scalar param = param_of(cell.scalar);
  fill(x_.data(), cell.scalar, cell.count(), 1, distribution.mean, 1);
  if (cell.pass == Pass::kBackward) fill(dy_.data(), cell.scalar, cell.count(), 2, 0, 1);
  fill(gamma_.data(), param, cell.c, 3, 1, distribution.affine ? 0.1 : 0);
  fill(beta_.data(), param, cell.c, 4, 0, distribution.affine ? 0.1 : 0);
  fill(running_mean_.data(), param, cell.c, 5, distribution.mean, 0.1);
  fill(running_var_.data(), param, cell.c, 6, 1, 0.01);
}

Operands Data::operands() const {
  return {x_.data(), dy_.data(), y_.data(), gamma_.data(), beta_.data(), running_mean_.data(), running_var_.data()};
}

ContenderPtr make_ours(const Cell& cell, const Operands& operands) {
  return with_type(cell.scalar, [&](auto zero) { return make_ours<decltype(zero)>(cell, operands); });
}

}  // namespace bench
