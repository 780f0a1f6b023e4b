// Vectors of an instruction set: loads that widen, stores that round once, parts of a vector, sums in double.
//
// Vectors pass by reference only: by value their ABI would depend on the compiler's flags.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/rounding.hpp"
#include "tensornorm/core/kernel/vector_ops.hpp"
#include "tensornorm/core/scalar.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

namespace core {

// An element of a float or 16-bit tensor that is read as a double.
template <class Scalar>
struct Widened {
  Scalar value;
  operator double() const { return static_cast<double>(value); }  // NOLINT(google-explicit-constructor)
};

template <class Scalar>
const Widened<Scalar>* widened(const Scalar* p) {
  return reinterpret_cast<const Widened<Scalar>*>(p);
}

// The type of the lanes that elements are read into.
template <class Scalar>
struct Lane {
  using type = ParamOf<Scalar>;
};
template <class Scalar>
struct Lane<Widened<Scalar>> {
  using type = double;
};
template <class Scalar>
using LaneOf = typename Lane<Scalar>::type;

// How a Scalar in memory becomes lanes of LaneOf<Scalar> and back, `Packed` as they lie in memory: float and double
// are what they are.
template <class Isa, class Scalar>
struct Conversion {
  using Packed = Vec<Scalar, kLanes<Isa, Scalar>>;

  static TENSORNORM_INLINE void load(const Scalar* p, Packed& v) { std::memcpy(&v, p, sizeof v); }
  static TENSORNORM_INLINE void pack(const Packed& v, Packed& packed) { packed = v; }
};

// bfloat16 is the upper half of a float; packing rounds to nearest even and keeps NaN a NaN.
template <class Isa>
struct Conversion<Isa, Eigen::bfloat16> {
  static constexpr int kWidth = kLanes<Isa, float>;
  using Packed = Vec<std::uint16_t, kWidth>;
  using Bits = Vec<std::uint32_t, kWidth>;

  template <class V>
  static TENSORNORM_INLINE void load(const Eigen::bfloat16* p, V& v) {
    Packed packed;
    Bits bits;
    std::memcpy(&packed, p, sizeof packed);
    VectorOps<Isa>::widen(packed, bits);
    bits <<= 16;
    copy_bits(bits, v);
  }
  template <class V>
  static TENSORNORM_INLINE void pack(const V& v, Packed& packed) {
    Bits bits;
    copy_bits(v, bits);
    const Bits rounded = (bits + (((bits >> 16) & 1) + 0x7fff)) >> 16;
    const Bits quiet = (bits >> 16) | 0x40;
    // All ones where bits & 0x7fffffff exceeds infinity's pattern: the difference wraps and its sign spreads.
    Vec<std::int32_t, kWidth> is_nan;
    copy_bits(Bits(0x7f800000 - (bits & 0x7fffffff)), is_nan);
    is_nan >>= 31;
    Bits nan_mask;
    copy_bits(is_nan, nan_mask);
    VectorOps<Isa>::narrow(Bits((rounded & ~nan_mask) | (quiet & nan_mask)), packed);
  }
};

// half: the processor's own conversion where there is one, else Eigen's.
template <class Isa>
struct Conversion<Isa, Eigen::half> {
  using Packed = Vec<std::uint16_t, kLanes<Isa, float>>;

  template <class V>
  static TENSORNORM_INLINE void load(const Eigen::half* p, V& v) {
    VectorOps<Isa>::load_half(p, v);
  }
  template <class V>
  static TENSORNORM_INLINE void pack(const V& v, Packed& packed) {
    VectorOps<Isa>::pack_half(v, packed);
  }
};

template <class Isa, class Scalar>
struct Conversion<Isa, Widened<Scalar>> {
  template <class V>
  static TENSORNORM_INLINE void load(const Widened<Scalar>* p, V& v) {
    Vec<float, kLanes<Isa, double>> floats;
    Conversion<HalfOf<Isa>, Scalar>::load(&p->value, floats);
    VectorOps<Isa>::widen(floats, v);
  }
};

// Whether so many columns fill a vector of Isa.
template <class Isa, class T>
constexpr bool fill_vectors(Index cols) {
  return cols >= kLanes<Isa, T>;
}

// Whether so many columns fill a strip: two vectors of AVX-512, or one of another set.
template <class Isa, class T>
constexpr bool fill_strip(Index cols) {
  return fill_vectors<Isa, T>(Isa::has_32_registers ? cols / 2 : cols);
}

// A place in a row: vector number k from column j on, or the first n lanes of one (the others read 0 and are not
// written), for rows narrower than a vector. An operand that may be constant along the row masks j away: k alone then
// counts.
constexpr Index kEach = -1, kNone = 0;

template <class Isa>
struct FullVector {
  Index j;
  int k = 0;

  template <class T>
  using Vector = Vec<T, kLanes<Isa, T>>;

  template <class Scalar, class V>
  TENSORNORM_INLINE void load(const Scalar* row, V& v, Index mask = kEach) const {
    Conversion<Isa, Scalar>::load(row + (j & mask) + k * kLanes<Isa, LaneOf<Scalar>>, v);
  }
  // Loads an operand with a value for each column. HeldVector keeps such values.
  template <class Scalar, class V>
  TENSORNORM_INLINE void load_by_column(const Scalar* row, V& v, Index mask = kEach) const {
    load(row, v, mask);
  }
  template <class Scalar, class V>
  TENSORNORM_INLINE void store(Scalar* row, const V& v) const {
    typename Conversion<Isa, Scalar>::Packed packed;
    Conversion<Isa, Scalar>::pack(v, packed);
    std::memcpy(static_cast<void*>(row + j + k * kLanes<Isa, LaneOf<Scalar>>), &packed, sizeof packed);
  }
  // Past the cache; the place is on a boundary of the packed vector's size.
  template <class Scalar, class V>
  TENSORNORM_INLINE void stream(Scalar* row, const V& v) const {
    typename Conversion<Isa, Scalar>::Packed packed;
    Conversion<Isa, Scalar>::pack(v, packed);
    store_past_cache<Isa>(row + j + k * kLanes<Isa, LaneOf<Scalar>>, packed);
  }
};

template <class Isa>
struct PartialVector {
  Index j;
  int n;

  template <class T>
  using Vector = Vec<T, kLanes<Isa, T>>;

  template <class Scalar, class V>
  TENSORNORM_INLINE void load(const Scalar* row, V& v, Index mask = kEach) const {
    alignas(64) Scalar lanes[kLanes<Isa, LaneOf<Scalar>>] = {};
    std::memcpy(static_cast<void*>(lanes), row + (j & mask), static_cast<std::size_t>(n) * sizeof(Scalar));
    Conversion<Isa, Scalar>::load(lanes, v);
  }
  template <class Scalar, class V>
  TENSORNORM_INLINE void load_by_column(const Scalar* row, V& v, Index mask = kEach) const {
    load(row, v, mask);
  }
  template <class Scalar, class V>
  TENSORNORM_INLINE void store(Scalar* row, const V& v) const {
    typename Conversion<Isa, Scalar>::Packed packed;
    Conversion<Isa, Scalar>::pack(v, packed);
    std::memcpy(static_cast<void*>(row + j), &packed, static_cast<std::size_t>(n) * sizeof(Scalar));
  }
};

// A vector of ones between two of zeros: a load from within masks either end.
template <class T, int lanes>
struct LaneMasks {
  using Int = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;
  struct Table {
    Int values[static_cast<std::size_t>(3 * lanes)];
    constexpr Table() : values() {
      for (int i = 0; i < lanes; ++i) values[lanes + i] = -1;
    }
  };
  static constexpr Table kTable{};
};

// The lanes [first, last) of a vector; one of the two is the vector's own end.
template <class T, int lanes>
class LaneMask {
 public:
  TENSORNORM_INLINE LaneMask(int first, int last) {
    std::memcpy(&mask_, LaneMasks<T, lanes>::kTable.values + (first > 0 ? lanes - first : 2 * lanes - last),
                sizeof mask_);
  }

  // Clears every other lane.
  TENSORNORM_INLINE void keep(Vec<T, lanes>& v) const {
    Vec<Int, lanes> bits;
    copy_bits(v, bits);
    bits &= mask_;
    copy_bits(bits, v);
  }

 private:
  using Int = typename LaneMasks<T, lanes>::Int;
  Vec<Int, lanes> mask_;
};

template <class T, int lanes>
TENSORNORM_INLINE void keep_lanes(int first, int last, Vec<T, lanes>& v) {
  LaneMask<T, lanes>(first, last).keep(v);
}

// The bits of |v| as integers, which are ordered as the numbers are, with NaN above infinity.
template <class T, int lanes>
TENSORNORM_INLINE void magnitude_bits(const Vec<T, lanes>& v, Vec<typename LaneMasks<T, lanes>::Int, lanes>& bits) {
  copy_bits(v, bits);
  bits &= (std::numeric_limits<typename LaneMasks<T, lanes>::Int>::max)();
}

// Lanes of double that take a vector's lanes in: two registers for a vector of float, one for a vector of double, which
// adds what rounding lost at the end (Knuth's two-sum): else sums of 1e8 doubles would lose a digit.
template <class Isa, class T>
struct WideSum;

template <class Isa>
struct WideSum<Isa, double> {
  using V = Vec<double, kLanes<Isa, double>>;
  V sum, lost{};

  TENSORNORM_INLINE explicit WideSum(const V& v) : sum(v) {}
  TENSORNORM_INLINE void add(const V& v) {
    const V next = sum + v, added = next - sum;
    lost += (sum - (next - added)) + (v - added);
    sum = next;
  }
  TENSORNORM_INLINE void add_to(double* out) const {
    V total;
    std::memcpy(&total, out, sizeof total);
    total += sum;
    std::memcpy(out, &total, sizeof total);
  }
  // Adds another, once each is whole.
  TENSORNORM_INLINE void merge(const WideSum& other) {
    V whole, of_other;
    fold(whole);
    other.fold(of_other);
    sum = whole + of_other;
    lost = V{};
  }
  // An infinite sum lost NaN.
  TENSORNORM_INLINE void fold(V& v) const {
    const V whole = sum + lost;
    v = whole == whole ? whole : sum;
  }
  TENSORNORM_INLINE double total() const {
    V whole;
    fold(whole);
    return sum_lanes<double, kLanes<Isa, double>>(whole);
  }
};

template <class Isa>
struct WideSum<Isa, float> {
  using V = Vec<float, kLanes<Isa, float>>;
  using Half = Vec<double, kLanes<Isa, double>>;
  Half low, high;

  TENSORNORM_INLINE explicit WideSum(const V& v) { VectorOps<Isa>::widen(v, low, high); }
  TENSORNORM_INLINE explicit WideSum(const double* lanes) {
    std::memcpy(&low, lanes, sizeof low);
    std::memcpy(&high, lanes + kLanes<Isa, double>, sizeof high);
  }
  TENSORNORM_INLINE void store(double* lanes) const {
    std::memcpy(lanes, &low, sizeof low);
    std::memcpy(lanes + kLanes<Isa, double>, &high, sizeof high);
  }
  TENSORNORM_INLINE void add(const V& v) { merge(WideSum(v)); }
  TENSORNORM_INLINE void merge(const WideSum& other) {
    low += other.low;
    high += other.high;
  }
  TENSORNORM_INLINE void add_to(double* out) const {
    WideSum<Isa, double>(low).add_to(out);
    WideSum<Isa, double>(high).add_to(out + kLanes<Isa, double>);
  }
  TENSORNORM_INLINE void fold(Half& v) const { v = low + high; }
  TENSORNORM_INLINE double total() const { return sum_lanes<double, kLanes<Isa, double>>(low + high); }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
