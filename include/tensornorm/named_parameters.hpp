// NamedParameters: what parameters() of a layer returns.
#pragma once

namespace tensornorm {

/// A parameter of a layer and its gradient, by reference.
template <class Array>
struct NamedParameter {
  const char* name;
  Array &value, &gradient;
};

/// The parameters of a layer: a range of up to two.
template <class Array>
class NamedParameters {
 public:
  NamedParameters(const NamedParameter<Array>& gamma, const NamedParameter<Array>& beta, int count)
      : all_{gamma, beta}, count_(count) {}
  NamedParameter<Array>* begin() { return all_; }
  NamedParameter<Array>* end() { return all_ + count_; }
  const NamedParameter<Array>* begin() const { return all_; }
  const NamedParameter<Array>* end() const { return all_ + count_; }
  int size() const { return count_; }

 private:
  NamedParameter<Array> all_[2];
  int count_;
};

}  // namespace tensornorm
