// View: raw memory as an argument of a call.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "tensornorm/core/check.hpp"

namespace tensornorm {

/// Memory of the caller's as a tensor of any rank: an argument of every call that takes a tensor. It is made by view().
///
/// T is float, double, Eigen::half or Eigen::bfloat16, and const where nothing is written. A view is cheap to copy, and
/// valid as long as the memory is.
template <class T>
class View {
 public:
  /// T without const.
  using Scalar = std::remove_const_t<T>;

  /// Throws std::invalid_argument as view() does.
  View(T* data, const Index* extents, const Index* strides, int rank) : data_(data) {
    core::check_that(rank >= 1 && rank < core::Axes::kCapacity, "a view of rank ", rank, ": 1 to 15 are possible");
    shape_.rank = rank;
    std::copy_n(extents, rank, shape_.extents.begin());
    core::check_extents(shape_, sizeof(Scalar));
    if (strides == nullptr) {
      shape_ = core::dense_shape(shape_, true);
      return;
    }
    for (int d = 0; d < rank; ++d) {
      core::check_that(strides[d] >= 0, "a view with a stride of ", strides[d], ": at least 0 is needed");
      shape_.strides[static_cast<std::size_t>(d)] = extents[d] == 1 ? 0 : strides[d];
    }
    core::check_span(shape_, sizeof(Scalar));
  }

  /// Where the first element lies.
  T* data() const { return data_; }
  /// Extents and strides.
  const core::Shape& shape() const { return shape_; }

 private:
  T* data_;
  core::Shape shape_;
};

/// The memory from data on as a tensor of these extents, row-major and without gaps.
///
///     view(x, {rows, 768})
///
/// Throws std::invalid_argument on a rank of 0 or above 15, a negative extent, or more elements than memory has.
template <class T>
View<T> view(T* data, std::initializer_list<Index> extents) {
  return {data, extents.begin(), nullptr, static_cast<int>(extents.size())};
}
/// The same with an array or a vector of extents.
template <class T, class Extents, class = std::enable_if_t<std::is_class<Extents>::value>>
View<T> view(T* data, const Extents& extents) {
  const std::vector<Index> all(extents.begin(), extents.end());
  return {data, all.data(), nullptr, static_cast<int>(all.size())};
}
/// The memory from data on as a tensor of these extents, a step along axis d being strides[d] elements long. Strides of
/// an axis of one element do not matter. What is written to must not have two elements at one place.
///
/// Throws std::invalid_argument as above, on a negative stride, and where extents and strides are not as many.
template <class T>
View<T> view(T* data, std::initializer_list<Index> extents, std::initializer_list<Index> strides) {
  core::check_that(extents.size() == strides.size(), "a view of ", extents.size(), " extents and ", strides.size(),
                   " strides");
  return {data, extents.begin(), strides.begin(), static_cast<int>(extents.size())};
}
/// The same with arrays or vectors of extents and strides.
template <class T, class Extents, class Strides, class = std::enable_if_t<std::is_class<Extents>::value>>
View<T> view(T* data, const Extents& extents, const Strides& strides) {
  const std::vector<Index> all(extents.begin(), extents.end()), steps(strides.begin(), strides.end());
  core::check_that(all.size() == steps.size(), "a view of ", all.size(), " extents and ", steps.size(), " strides");
  return {data, all.data(), steps.data(), static_cast<int>(all.size())};
}

}  // namespace tensornorm
