#include "tensors.hpp"

#include <algorithm>
#include <random>

namespace tensornorm_test {

Index count(const Extents& extents) {
  Index n = 1;
  for (const Index e : extents) n *= e;
  return n;
}

std::string text(const Extents& extents) {
  std::string s = "(";
  for (const Index e : extents) s += (s.size() > 1 ? "," : "") + std::to_string(e);
  return s + ")";
}

std::vector<Index> storage_positions(const Extents& extents, int layout) {
  const std::size_t rank = extents.size();
  Extents stride(rank, 1), at(rank, 0);
  if (layout == Eigen::RowMajor) {
    for (std::size_t a = rank; a-- > 1;) stride[a - 1] = stride[a] * extents[a];
  } else {
    for (std::size_t a = 1; a < rank; ++a) stride[a] = stride[a - 1] * extents[a - 1];
  }
  std::vector<Index> positions(std::size_t(count(extents)));
  for (Index& position : positions) {
    position = 0;
    for (std::size_t a = 0; a < rank; ++a) position += at[a] * stride[a];
    for (std::size_t a = rank; a-- > 0 && ++at[a] == extents[a];) at[a] = 0;
  }
  return positions;
}

Values permuted(const Values& values, const Extents& extents, const std::vector<int>& order) {
  Extents to(extents.size());
  for (std::size_t a = 0; a < order.size(); ++a) to[a] = extents[std::size_t(order[a])];
  Extents stride(extents.size(), 1), at(extents.size(), 0);
  for (std::size_t a = extents.size(); a-- > 1;) stride[a - 1] = stride[a] * extents[a];
  Values result(values.size());
  for (double& v : result) {
    Index position = 0;
    for (std::size_t a = 0; a < order.size(); ++a) position += at[a] * stride[std::size_t(order[a])];
    v = values[std::size_t(position)];
    for (std::size_t a = order.size(); a-- > 0 && ++at[a] == to[a];) at[a] = 0;
  }
  return result;
}

Values normal(Index n, unsigned seed, double mean, double sigma) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> draw(mean, sigma);
  Values values(static_cast<std::size_t>(n));
  for (double& v : values) v = draw(engine);
  return values;
}

template <class Scalar>
void put_values(const Values& values, const Extents& extents, int layout, Scalar* data) {
  const std::vector<Index> positions = storage_positions(extents, layout);
  for (std::size_t i = 0; i < values.size(); ++i) data[positions[i]] = from_double<Scalar>(values[i]);
}

template <class Scalar>
Values get_values(const Scalar* data, const Extents& extents, int layout) {
  const std::vector<Index> positions = storage_positions(extents, layout);
  Values result(positions.size());
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = to_double(data[positions[i]]);
  return result;
}

bool all_bits_set(const unsigned char* bytes, std::size_t size) {
  return std::all_of(bytes, bytes + size, [](unsigned char byte) { return byte == 0xff; });
}

#define TENSORNORM_TEST_INSTANTIATE(Scalar)                                      \
  template void put_values<Scalar>(const Values&, const Extents&, int, Scalar*); \
  template Values get_values<Scalar>(const Scalar*, const Extents&, int);
TENSORNORM_TEST_FOR_EACH_SCALAR(TENSORNORM_TEST_INSTANTIATE)
#undef TENSORNORM_TEST_INSTANTIATE

}  // namespace tensornorm_test
