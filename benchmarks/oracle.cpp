#include "oracle.hpp"

#include <limits>

namespace bench {

namespace {

double worse(double worst, double value) { return std::max(worst, std::isnan(value) ? INFINITY : value); }

/// What T keeps of numbers: digits, and the exponent of its least normal number.
template <class T>
struct Format {
  int digits, least;
  double promised, units;
};
template <class T>
constexpr Format<T> kFormat;
template <>
constexpr Format<float> kFormat<float>{24, -126, 8e-7, 1.5};
template <>
constexpr Format<double> kFormat<double>{53, -1022, 1.5e-15, 1.5};
template <>
constexpr Format<Eigen::half> kFormat<Eigen::half>{11, -14, 1e-7, 1.5};
template <>
constexpr Format<Eigen::bfloat16> kFormat<Eigen::bfloat16>{8, -126, 1e-7, 1.5};

/// A unit in the last place of `value` in T.
template <class T>
double unit_of(double value) {
  const int exponent = value == 0 ? kFormat<T>.least : std::max(std::ilogb(value), kFormat<T>.least);
  return std::ldexp(1, exponent - kFormat<T>.digits + 1);
}

/// The largest error relative to the largest right value.
class Relative {
 public:
  void add(long double is, long double right) {
    error_ = worse(error_, static_cast<double>(std::abs(is - right)));
    largest_ = std::max(largest_, static_cast<double>(std::abs(right)));
  }
  double value() const { return error_ / largest_; }

 private:
  double error_ = 0, largest_ = 0;
};

}  // namespace

double disagreement(const Cell& cell, const Operands& operands, const void* result) {
  return with_type(cell.scalar, [&](auto zero) {
    using T = decltype(zero);
    const double unit = std::is_same_v<T, double>        ? 1e-13
                        : std::is_same_v<T, float>       ? 1e-5
                        : std::is_same_v<T, Eigen::half> ? 1e-3
                                                         : 8e-3;
    double worst = 0;
    Oracle<double>(cell, operands).compare(static_cast<const T*>(result), [&](double is, double should_be) {
      worst = worse(worst, std::abs(is - should_be) / (unit * (1 + std::abs(should_be))));
    });
    return worst;
  });
}

Error error_of(const Cell& cell, const Operands& operands, const void* result) {
  return with_type(cell.scalar, [&](auto zero) {
    using T = decltype(zero);
    Error worst;
    Oracle<long double>(cell, operands).compare(static_cast<const T*>(result), [&](long double is, long double right) {
      const double error = static_cast<double>(std::abs(is - right));
      const double unit = unit_of<T>(static_cast<double>(right));
      worst.largest = worse(worst.largest, sizeof(T) == 2 ? error / unit : error);
      worst.of_promise = worse(worst.of_promise, error / std::max(kFormat<T>.promised, kFormat<T>.units * unit));
    });
    return worst;
  });
}

ParameterErrors parameter_errors_of(const Cell& cell, const Operands& operands, const Parameters& parameters) {
  return with_type(cell.scalar, [&](auto zero) {
    using T = decltype(zero);
    using P = ParamOf<T>;
    Oracle<long double> oracle(cell, operands);
    const auto at = [](const void* values, Index c) {
      return static_cast<long double>(static_cast<const P*>(values)[c]);
    };
    ParameterErrors errors;
    Relative first, second;
    Index c = 0;
    if (cell.pass == Pass::kBackward) {
      oracle.gradients<T>([&](long double dgamma, long double dbeta) {
        first.add(at(parameters.dgamma, c), dgamma);
        second.add(at(parameters.dbeta, c++), dbeta);
      });
      errors.dgamma = first.value();
      errors.dbeta = second.value();
    } else if (parameters.running_mean != nullptr) {
      oracle.running_statistics<T>([&](long double mean, long double var) {
        first.add(at(parameters.running_mean, c), mean);
        second.add(at(parameters.running_var, c++), var);
      });
      errors.running_mean = first.value();
      errors.running_var = second.value();
    }
    return errors;
  });
}

}  // namespace bench
