// PassRecord: the rule that a backward pass follows its forward pass.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/parameters.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Tells one x from another by the bits of sixteen elements spread over it; all of them where there are fewer.
template <class Scalar>
std::uint64_t fingerprint(const Scalar* x, Index n) {
  using Bits = std::conditional_t<sizeof(Scalar) == 8, std::uint64_t,
                                  std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint16_t>>;
  constexpr int kElements = 16;
  std::uint64_t sum = 0;
  // Each element has an odd factor of its own, so that two that change places change the sum.
  const auto add = [&](int i, Index at) {
    Bits bits;
    std::memcpy(&bits, x + at, sizeof bits);
    sum += static_cast<std::uint64_t>(bits) * static_cast<std::uint64_t>(0x1b873593 + 0x2000102 * i);
  };
  if (n < kElements) {
    for (int i = 0; i < static_cast<int>(n); ++i) add(i, i);
    return sum;
  }
  // A little more than a sixteenth apart, so that not all of them are in the same column.
  const Index step = n / kElements + n / kElements / kElements;
  for (int i = 0; i < kElements; i += 4) {
    add(i, i * step);
    add(i + 1, (i + 1) * step);
    add(i + 2, (i + 2) * step);
    add(i + 3, (i + 3) * step);
  }
  return sum;
}

// The same for any strides: of elements spread over its extents, where it has gaps.
template <class Scalar>
std::uint64_t fingerprint(const Scalar* x, const Shape& shape) {
  const Index n = shape.count();
  if (span_of(shape) == n) return fingerprint(x, n);
  constexpr Index kElements = 16;
  Scalar values[kElements];
  const Index m = (std::min)(n, kElements);
  for (Index i = 0; i < m; ++i) {
    Index position = i * (n / m) + (n >= kElements ? i * (n / m / m) : 0), offset = 0;
    for (int d = shape.rank - 1; d >= 0; --d) {
      offset += position % shape.extent(d) * shape.stride(d);
      position /= shape.extent(d);
    }
    values[i] = x[offset];
  }
  return fingerprint(values, m);
}

// The forward pass that backward follows.
struct PassRecord {
  Shape shape;
  std::uint64_t fingerprint = 0;  // of x
  bool done = false, training = false, batch = false;
  StatisticKind kind = StatisticKind::kVariance;
  Index used_pieces = 0;    // virtual batches; 0: it had one batch
  Index rank_values = 0;    // of a statistic, of all ranks; 0: the statistics are of x alone
  Index repeated_plan = 0;  // KeptPlan::number of a small pass by statistics of x, whose y lay as x; else 0

  void set(const Shape& x, std::uint64_t fingerprint_of_x, bool is_training, bool has_batch_statistics,
           StatisticKind of_statistics = StatisticKind::kVariance);
  // @throws std::invalid_argument where backward does not follow it
  void check_backward(const Shape& x, const Shape& dy, bool is_training) const;
  // The same of another layer's forward; where there was none, check_backward says so.
  void check_kind(StatisticKind of_backward, bool of_ranks) const;
  void check_same(const Shape& x, std::uint64_t fingerprint_of_x) const;
};

// The record is that of a copy as long as this lives.
class StagedRecord {
 public:
  StagedRecord(PassRecord& record, const Shape& layout, std::uint64_t fingerprint) : record_(record), kept_(record) {
    record.set(layout, fingerprint, kept_.training, kept_.batch, kept_.kind);
    record.rank_values = kept_.rank_values;
  }
  StagedRecord(const StagedRecord&) = delete;
  StagedRecord& operator=(const StagedRecord&) = delete;
  ~StagedRecord() { record_ = kept_; }

 private:
  PassRecord& record_;
  PassRecord kept_;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/pass_record-inl.hpp"
#endif
