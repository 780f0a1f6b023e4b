// NamedParameters: what parameters() of a layer returns.
#pragma once

namespace tensornorm {

/// A parameter of a layer and its gradient, by reference.
template <class Array>
struct NamedParameter {
  const char* name;  ///< "gamma" or "beta"
  Array& value;      ///< gamma() or beta() of the layer
  Array& gradient;   ///< dgamma() or dbeta()
};

/// The parameters of a layer: a range of up to two.
template <class Array>
class NamedParameters {
 public:
  /// Made by parameters(): the first `count` of gamma and beta.
  NamedParameters(const NamedParameter<Array>& gamma, const NamedParameter<Array>& beta, int count)
      : all_{gamma, beta}, count_(count) {}
  /// The first parameter.
  NamedParameter<Array>* begin() { return all_; }
  /// One past the last.
  NamedParameter<Array>* end() { return all_ + count_; }
  /// The first parameter.
  const NamedParameter<Array>* begin() const { return all_; }
  /// One past the last.
  const NamedParameter<Array>* end() const { return all_ + count_; }
  /// How many there are: 0, 1 or 2.
  int size() const { return count_; }

 private:
  NamedParameter<Array> all_[2];
  int count_;
};

}  // namespace tensornorm
