#include "data.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <new>
#include <random>
#include <vector>

namespace bench {

namespace {

template <class T>
double to_double(T value) {
  if constexpr (sizeof(T) == 2) {
    return static_cast<double>(static_cast<float>(value));
  } else {
    return static_cast<double>(value);
  }
}

/// use(T()) for the scalar's type.
template <class Use>
auto with_type(Scalar scalar, const Use& use) {
  switch (scalar) {
    case Scalar::kDouble:
      return use(double{});
    case Scalar::kHalf:
      return use(Eigen::half{});
    case Scalar::kBfloat16:
      return use(Eigen::bfloat16{});
    default:
      return use(float{});
  }
}

Scalar param_of(Scalar scalar) { return scalar == Scalar::kDouble ? Scalar::kDouble : Scalar::kFloat; }
std::size_t param_bytes(const Cell& cell) {
  return static_cast<std::size_t>(cell.c) * (cell.scalar == Scalar::kDouble ? 8 : 4);
}

/// Normal numbers; a short period, because only their order of magnitude can matter to the time.
void fill(void* array, Scalar scalar, Index count, unsigned seed, double mean, double std) {
  std::mt19937 bits(seed);
  std::normal_distribution<double> normal(mean, std);
  std::array<double, 10007> period;
  for (double& value : period) value = normal(bits);
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

Memory::Memory(std::size_t bytes) : data_(nullptr, &std::free) {
  constexpr std::size_t kLine = 64;
  const std::size_t whole = (bytes + kLine - 1) / kLine * kLine;
  data_.reset(std::aligned_alloc(kLine, whole));
  if (data_ == nullptr) throw std::bad_alloc();
  std::memset(data_.get(), 0, whole);
}

Data::Data(const Cell& cell)
    : x_(cell.bytes()), dy_(cell.pass == Pass::kBackward ? cell.bytes() : 0), y_(cell.bytes()),
      gamma_(param_bytes(cell)), beta_(param_bytes(cell)), running_mean_(param_bytes(cell)),
      running_var_(param_bytes(cell)) {
  const Scalar param = param_of(cell.scalar);
  fill(x_.data(), cell.scalar, cell.count(), 1, 0.5, 1);
  if (cell.pass == Pass::kBackward) fill(dy_.data(), cell.scalar, cell.count(), 2, 0, 1);
  fill(gamma_.data(), param, cell.c, 3, 1, 0.1);
  fill(beta_.data(), param, cell.c, 4, 0, 0.1);
  fill(running_mean_.data(), param, cell.c, 5, 0.5, 0.1);
  fill(running_var_.data(), param, cell.c, 6, 1, 0.01);
}

Operands Data::operands() const {
  return {x_.data(), dy_.data(), y_.data(), gamma_.data(), beta_.data(), running_mean_.data(), running_var_.data()};
}

double value_at(const void* array, Scalar scalar, Index i) {
  return with_type(scalar, [&](auto zero) { return to_double(static_cast<const decltype(zero)*>(array)[i]); });
}

namespace {

/// Plain loops over a cell's elements in the order of memory.
class Oracle {
 public:
  Oracle(const Cell& cell, const Operands& o)
      : cell_(cell), o_(o), sums_(static_cast<std::size_t>(cell.stat_count())) {}

  template <class T>
  double disagreement(const T* result) {
    using P = std::conditional_t<std::is_same_v<T, double>, double, float>;
    const T *x = static_cast<const T*>(o_.x), *dy = static_cast<const T*>(o_.dy);
    const P *gamma = static_cast<const P*>(o_.gamma), *beta = static_cast<const P*>(o_.beta);
    const bool has_beta = cell_.layer != Layer::kRms;
    find_statistics(x);
    if (cell_.pass != Pass::kBackward) {
      return worst<T>(result, [&](Index i, const Sums& s, Index c) {
        return (to_double(x[i]) - s.mean) * s.rstd * to_double(gamma[c]) + (has_beta ? to_double(beta[c]) : 0);
      });
    }
    each([&](Index i, Sums& s, Index c) {
      const double g = to_double(dy[i]) * to_double(gamma[c]);
      s.g += g;
      s.gx += g * (to_double(x[i]) - s.mean) * s.rstd;
    });
    return worst<T>(result, [&](Index i, const Sums& s, Index c) {
      const double g = to_double(dy[i]) * to_double(gamma[c]), xhat = (to_double(x[i]) - s.mean) * s.rstd;
      return s.rstd * (g - (has_beta ? s.g / n() : 0) - xhat * s.gx / n());
    });
  }

 private:
  struct Sums {
    double mean = 0, var = 0, rstd = 0, g = 0, gx = 0;
  };

  bool frozen() const { return cell_.pass == Pass::kInfer && cell_.layer == Layer::kBatch; }
  double n() const { return static_cast<double>(cell_.count() / cell_.stat_count()); }

  /// visit(i, sums of its statistic, its channel) for every element.
  template <class Visit>
  void each(const Visit& visit) {
    struct Axis {
      Index extent, stride;
      char name;
    };
    Axis axes[] = {
        {cell_.n, cell_.n_stride(), 'n'}, {cell_.c, cell_.c_stride(), 'c'}, {cell_.space(), cell_.s_stride(), 's'}};
    std::sort(std::begin(axes), std::end(axes), [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
    const Index per_stat = cell_.stat_channels(), stats = cell_.c / per_stat;
    Index at[3];
    Index* const n = &at[find(axes, 'n')];
    Index* const c = &at[find(axes, 'c')];
    for (at[0] = 0; at[0] < axes[0].extent; ++at[0]) {
      for (at[1] = 0; at[1] < axes[1].extent; ++at[1]) {
        for (at[2] = 0; at[2] < axes[2].extent; ++at[2]) {
          const Index i = at[0] * axes[0].stride + at[1] * axes[1].stride + at[2] * axes[2].stride;
          const Index stat = (cell_.stat_spans_samples() ? 0 : *n * stats) + *c / per_stat;
          visit(i, sums_[static_cast<std::size_t>(stat)], *c);
        }
      }
    }
  }
  template <class Axes>
  static std::size_t find(const Axes& axes, char name) {
    std::size_t i = 0;
    while (axes[i].name != name) ++i;
    return i;
  }

  template <class T>
  void find_statistics(const T* x) {
    if (frozen()) {
      for (std::size_t c = 0; c < sums_.size(); ++c) {
        const Scalar param = param_of(cell_.scalar);
        sums_[c].mean = value_at(o_.running_mean, param, static_cast<Index>(c));
        sums_[c].var = value_at(o_.running_var, param, static_cast<Index>(c));
      }
    } else {
      if (cell_.layer != Layer::kRms) each([&](Index i, Sums& s, Index) { s.mean += to_double(x[i]) / n(); });
      each([&](Index i, Sums& s, Index) {
        const double d = to_double(x[i]) - s.mean;
        s.var += d * d / n();
      });
    }
    for (Sums& s : sums_) s.rstd = 1 / std::sqrt(s.var + kEps);
  }

  template <class T, class Wanted>
  double worst(const T* result, const Wanted& wanted) {
    const double unit = std::is_same_v<T, double>        ? 1e-13
                        : std::is_same_v<T, float>       ? 1e-5
                        : std::is_same_v<T, Eigen::half> ? 1e-3
                                                         : 8e-3;
    double result_worst = 0;
    each([&](Index i, const Sums& s, Index c) {
      const double want = wanted(i, s, c), off = std::abs(to_double(result[i]) - want) / (unit * (1 + std::abs(want)));
      result_worst = std::max(result_worst, std::isnan(off) ? INFINITY : off);
    });
    return result_worst;
  }

  const Cell& cell_;
  const Operands& o_;
  std::vector<Sums> sums_;
};

}  // namespace

double disagreement(const Cell& cell, const Operands& operands, const void* result) {
  return with_type(cell.scalar, [&](auto zero) {
    return Oracle(cell, operands).disagreement(static_cast<const decltype(zero)*>(result));
  });
}

ContenderPtr make_ours(const Cell& cell, const Operands& operands) {
  return with_type(cell.scalar, [&](auto zero) { return make_ours<decltype(zero)>(cell, operands); });
}

}  // namespace bench
