// What Whitening takes of the stack and of the heap, whatever the shape; and large groups, which the stack has no room
// for, in place.
#include <tensornorm/whitening.hpp>

#include "counted_malloc.hpp"
#include "painted_stack.hpp"
#include "sweep.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

using Method = WhiteningMethod;
constexpr std::size_t kKiB = 1024;

#if defined(MALLOC_IS_TAKEN)
constexpr std::size_t kSlack = 16;  // sanitizers spread frames out
#else
constexpr std::size_t kSlack = 1;
#endif

template <class Scalar>
using Samples = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class Scalar>
Samples<Scalar> random_samples(Index rows, Index cols) {
  return Eigen::MatrixXf::Random(rows, cols).template cast<Scalar>();
}

WhiteningOptions options_of(Method method, double eps, Index groups = 1) {
  WhiteningOptions options;
  options.method = method;
  options.eps = eps;
  options.groups = groups;
  options.iterations = 2;
  return options;
}

/// After a call, so that symbols are resolved and the workspace is there.
template <class Call>
void expect_stack(const std::string& what, std::size_t most, const Call& call) {
  call();
  EXPECT_LE(stack_used(call), most * kSlack) << what;
}

template <class Scalar>
void expect_small_stacks(Index k, Index groups, Method method, double eps) {
  const std::string what = name_of<Scalar>() + ", " + std::to_string(groups) + " groups of " + std::to_string(k) +
                           " channels, method " + std::to_string(int(method)) + ", eps " + std::to_string(eps) + ": ";
  const Index channels = groups * k;
  Samples<Scalar> x = random_samples<Scalar>(k + 40, channels), dy = x, y = x, dx = x;
  x.col(channels - 1) = x.col(0);
  Whitening<Scalar> layer(channels, options_of(method, eps, groups));
  expect_stack(what + "fit", 16 * kKiB, [&] { layer.fit(x); });
  expect_stack(what + "infer", 12 * kKiB, [&] { layer.infer(x, y); });
  expect_stack(what + "inverse", 16 * kKiB, [&] { layer.inverse(y, dx); });
  expect_stack(what + "infer in place", 12 * kKiB, [&] { layer.infer(y, y); });
  if (method != Method::kZca && method != Method::kNewton) layer.eval();
  expect_stack(what + "forward", 16 * kKiB, [&] { layer.forward(x, y); });
  expect_stack(what + "backward", 16 * kKiB, [&] { layer.backward(x, dy, dx); });
}

TEST(WhiteningMemory, SmallStacks) {
  for (const Method method : {Method::kZca, Method::kNewton, Method::kPca, Method::kCholesky}) {
    for (const double eps : {0.0, 1e-3}) {
      expect_small_stacks<float>(1, 64, method, eps);
      expect_small_stacks<double>(4, 3, method, eps);
      expect_small_stacks<Eigen::half>(16, 2, method, eps);
      expect_small_stacks<Eigen::bfloat16>(65, 1, method, eps);
      expect_small_stacks<float>(130, 1, method, eps);
    }
  }
  expect_small_stacks<float>(520, 1, Method::kNewton, 1e-3);
}

TEST(WhiteningMemory, InferOfImages) {
  for (const Index channels : {1, 3, 64, 200, 520}) {
    Guarded<float, 4, Eigen::RowMajor> x({3, channels, 5, 7}, normal(105 * channels, 1)), y({3, channels, 5, 7});
    const Whitening<float> layer(channels);
    const auto from = x.map();
    auto to = y.map();
    expect_stack(std::to_string(channels) + " channels", 12 * kKiB, [&] { layer.infer(from, to); });
  }
}

#if COUNTS_ALLOCATIONS
TEST(WhiteningMemory, InferAllocatesForLargeGroupsInPlaceAlone) {
  for (const Index channels : {1, 7, 8, 64, 512, 513, 1030}) {
    Samples<float> x = random_samples<float>(3, channels), y = x;
    const Whitening<float> layer(channels);
    const auto allocated = [](const auto& call) {
      const long before = allocations;
      call();
      return allocations - before;
    };
    EXPECT_EQ(allocated([&] { layer.infer(x, y); }), 0) << channels;
    EXPECT_EQ(allocated([&] { layer.infer(x, x); }), channels > 512 ? 1 : 0) << channels;
    EXPECT_EQ(x, y) << channels;
  }
}
#endif

/// How many positions are taken at once, and where, is not to be seen in any bit.
TEST(WhiteningMemory, LargeGroupsGiveTheSameBitsInPlace) {
  for (const Index channels : {100, 520}) {
    const Samples<float> x = random_samples<float>(21, channels), dy = random_samples<float>(21, channels);
    Whitening<float> layer(channels, options_of(Method::kNewton, 1e-2));
    for (const bool trains : {true, false}) {
      if (!trains) {
        layer.running_whitening() = 0.1 * Eigen::MatrixXd::Random(channels, channels);
        layer.eval();
      }
      Samples<float> y = x, dx = x, over_x = x, over_dy = dy, over_input = x;
      layer.forward(over_x, over_x);
      layer.forward(x, y);
      EXPECT_EQ(y, over_x) << channels;
      layer.backward(x, dy, dx);
      layer.backward(x, over_dy, over_dy);
      layer.backward(over_input, dy, over_input);
      EXPECT_EQ(dx, over_dy) << channels;
      EXPECT_EQ(dx, over_input) << channels;
    }
    Samples<float> y = x, inferred = x;
    layer.forward(x, y);
    layer.infer(x, inferred);
    EXPECT_EQ(y, inferred) << channels;
    layer.infer(inferred = x, inferred);
    EXPECT_EQ(y, inferred) << channels;
    for (Index p = 0; p < 21; ++p) EXPECT_EQ(Samples<float>(y.row(p)), layer.infer(Samples<float>(x.row(p))));
    layer.fit(x);
    Samples<float> back = y, over_y = y;
    layer.inverse(y, back);
    layer.inverse(over_y, over_y);
    EXPECT_EQ(back, over_y) << channels;
  }
}

}  // namespace
