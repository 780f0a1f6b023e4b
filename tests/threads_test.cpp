// The number of threads, the alignment of a map and the calling thread never change a bit of any result.
#define EIGEN_USE_THREADS

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "counting_pool.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

// What a layer leaves behind after a training step, an eval step and an inference.
struct Trace {
  std::string y, dx, frozen_y, frozen_dx, inferred, layer;
};

template <int Rank, int Layout, class Scalar = float>
class Problem {
 public:
  explicit Problem(const Extents& e) : extents(e), x_(normal(count(e), 1, 0.5, 2)), dy_(normal(count(e), 2)) {}

  // Runs a copy of the layer, all tensors `misalign` elements off.
  template <class Layer, class Device>
  Trace run(Layer layer, const Device& device, Index misalign = 0) {
    Tensors& t = at(misalign);
    const auto x = t.x.map(), dy = t.dy.map();
    auto y = t.y.map(), dx = t.dx.map();
    Trace trace;
    layer.train();
    layer.forward(device, x, y);
    layer.backward(device, x, dy, dx);
    trace.y = bytes(y), trace.dx = bytes(dx), trace.layer = state(layer);
    layer.eval();
    layer.forward(device, x, y);
    layer.backward(device, x, dy, dx);
    trace.frozen_y = bytes(y), trace.frozen_dx = bytes(dx), trace.layer += state(layer);
    layer.infer(device, x, y);
    trace.inferred = bytes(y);
    EXPECT_TRUE(t.y.guards_intact() && t.dx.guards_intact());
    return trace;
  }

  const Extents extents;

 private:
  struct Tensors {
    Guarded<Scalar, Rank, Layout> x, dy, y, dx;
  };

  Tensors& at(Index misalign) {
    auto& tensors = tensors_[misalign];
    if (!tensors) {
      using T = Guarded<Scalar, Rank, Layout>;
      tensors.reset(
          new Tensors{T(extents, x_, misalign), T(extents, dy_, misalign), T(extents, misalign), T(extents, misalign)});
    }
    return *tensors;
  }

  Values x_, dy_;
  std::map<Index, std::unique_ptr<Tensors>> tensors_;
};

void expect_same(const Trace& expected, const Trace& t, const std::string& where) {
  EXPECT_TRUE(t.y == expected.y) << where << ": y differs";
  EXPECT_TRUE(t.dx == expected.dx) << where << ": dx differs";
  EXPECT_TRUE(t.frozen_y == expected.frozen_y) << where << ": y in eval mode differs";
  EXPECT_TRUE(t.frozen_dx == expected.frozen_dx) << where << ": dx in eval mode differs";
  EXPECT_TRUE(t.inferred == expected.inferred) << where << ": infer differs";
  EXPECT_TRUE(t.layer == expected.layer) << where << ": statistics or parameter gradients differ";
}

struct Pool {
  explicit Pool(int threads, int claimed = 0) : pool(threads), device(&pool, claimed > 0 ? claimed : threads) {}
  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
};

template <int Rank, int Layout, class Scalar = float>
void bits_do_not_depend_on_threads(const Extents& extents, int channel_axis) {
  static Pool one(1), two(2), three(3), eight(8), eight_of_two(2, 8), two_of_eight(8, 2);
  const std::pair<const char*, Pool*> pools[] = {{"1 thread", &one},
                                                 {"2 threads", &two},
                                                 {"3 threads", &three},
                                                 {"8 threads", &eight},
                                                 {"a device of 8 on a pool of 2", &eight_of_two},
                                                 {"a device of 2 on a pool of 8", &two_of_eight}};
  Problem<Rank, Layout, Scalar> problem(extents);
  for_each_layer<Scalar>(extents, channel_axis, [&](const Kind& kind, const auto& layer) {
    const std::string what = kind.name + " " + layout_name(Layout) + ", ";
    const Trace expected = problem.run(layer, Eigen::DefaultDevice());
    for (const auto& [name, pool] : pools) expect_same(expected, problem.run(layer, pool->device), what + name);
    expect_same(expected, problem.run(layer, two.device), what + "repeated");
    expect_same(expected, problem.run(layer, Eigen::DefaultDevice(), 1), what + "misaligned by 1");
    expect_same(expected, problem.run(layer, three.device, 3), what + "misaligned by 3, 3 threads");
  });
}

// A few megabytes each, past any crossover to threads.
TEST(Threads, ImagesChannelsFirst) { bits_do_not_depend_on_threads<4, kRow>({3, 64, 23, 21}, 1); }
TEST(Threads, ImagesChannelsLast) { bits_do_not_depend_on_threads<4, kRow>({3, 23, 21, 64}, -1); }
TEST(Threads, ImagesChannelsFirstColMajor) { bits_do_not_depend_on_threads<4, kCol>({3, 64, 23, 21}, 1); }
TEST(Threads, ImagesChannelsLastColMajor) { bits_do_not_depend_on_threads<4, kCol>({17, 9, 13, 60}, -1); }
TEST(Threads, ImagesChannelsInTheMiddle) { bits_do_not_depend_on_threads<4, kRow>({17, 9, 60, 13}, 2); }
TEST(Threads, Features) { bits_do_not_depend_on_threads<2, kRow>({512, 300}, 1); }
// Columns that are too few for a vector are computed without fused multiply-adds: four in the last block of 1028 and of
// 4100, the same with any number of threads; those beyond the lines of 1156, 1092 and 1153 (of doubles, below) belong
// to a wider piece.
TEST(Threads, FeaturesOfNarrowTails) {
  bits_do_not_depend_on_threads<2, kRow>({127, 1028}, 1);
  bits_do_not_depend_on_threads<2, kRow>({127, 1156}, 1);
  bits_do_not_depend_on_threads<2, kRow>({60, 4100}, 1);
  bits_do_not_depend_on_threads<2, kRow>({512, 1092}, 1);
}
TEST(Threads, FeaturesColMajor) { bits_do_not_depend_on_threads<2, kCol>({700, 300}, 1); }
TEST(Threads, OneHugeRow) { bits_do_not_depend_on_threads<2, kRow>({2, 80001}, 1); }
TEST(Threads, OneChannelOfOneSample) { bits_do_not_depend_on_threads<3, kRow>({1, 1, 150007}, 1); }
TEST(Threads, OneSampleOfFewChannels) { bits_do_not_depend_on_threads<3, kRow>({1, 8, 20001}, 1); }
TEST(Threads, OneSampleOfFewChannelsLast) { bits_do_not_depend_on_threads<3, kRow>({1, 20001, 8}, 2); }
TEST(Threads, GroupsOfManyChannelsLast) {
  Problem<3, kRow> problem({3, 50, 1024});
  tensornorm::GroupNormOptions options;
  options.channel_axis = -1;
  const tensornorm::GroupNorm<float> layer(32, 1024, options);
  Pool eight(7, 8);
  expect_same(problem.run(layer, Eigen::DefaultDevice()), problem.run(layer, eight.device), "8 threads");
}
TEST(Threads, OneSampleColMajor) { bits_do_not_depend_on_threads<3, kCol>({1, 8, 20001}, 1); }
TEST(Threads, ManyShortRows) { bits_do_not_depend_on_threads<2, kRow>({30011, 4}, 1); }

#ifndef TENSORNORM_TEST_FLOAT_ALONE  // defined where the passes are those of float alone
TEST(Threads, Doubles) { bits_do_not_depend_on_threads<4, kRow, double>({3, 32, 30, 33}, 1); }
TEST(Threads, DoublesChannelsLast) { bits_do_not_depend_on_threads<4, kRow, double>({3, 30, 33, 32}, 3); }
TEST(Threads, Halves) { bits_do_not_depend_on_threads<4, kRow, Eigen::half>({3, 64, 20, 23}, 1); }
TEST(Threads, BFloat16ChannelsLast) { bits_do_not_depend_on_threads<4, kRow, Eigen::bfloat16>({3, 20, 23, 64}, 3); }
TEST(Threads, DoublesOfNarrowTails) { bits_do_not_depend_on_threads<2, kRow, double>({127, 1153}, 1); }
#endif

// So large that results go past the cache: 16 MiB of x and y.
template <int Rank, class Layer>
void bits_of_a_large_tensor(Layer layer, const Extents& extents) {
  static Pool two(1, 2);
  Problem<Rank, kRow, float> problem(extents);
  const Trace expected = problem.run(layer, Eigen::DefaultDevice());
  expect_same(expected, problem.run(layer, two.device), "2 threads");
  expect_same(expected, problem.run(layer, two.device, 3), "2 threads, misaligned by 3");
  // 16 bytes behind a line, as malloc aligns: coefficients begin there too.
  expect_same(expected, problem.run(layer, Eigen::DefaultDevice(), 4), "misaligned by 4");
  expect_same(expected, problem.run(layer, two.device, 4), "2 threads, misaligned by 4");
}
TEST(Threads, LargeRows) { bits_of_a_large_tensor<2>(tensornorm::LayerNorm<float>({777}), {2800, 777}); }
TEST(Threads, LargeRowsOfWholeLines) { bits_of_a_large_tensor<2>(tensornorm::LayerNorm<float>({64}), {33000, 64}); }
TEST(Threads, LargeColumns) { bits_of_a_large_tensor<2>(tensornorm::BatchNorm<float>(1100), {2000, 1100}); }
TEST(Threads, LargeImages) { bits_of_a_large_tensor<4>(tensornorm::BatchNorm<float>(40), {6, 40, 95, 95}); }
TEST(Threads, LargeImagesChannelsLast) {
  tensornorm::GroupNormOptions options;
  options.channel_axis = -1;
  bits_of_a_large_tensor<4>(tensornorm::GroupNorm<float>(8, 64, options), {4, 92, 95, 64});
}

TEST(Threads, SmallTensors) {
  for (const Index n : {1, 2, 5}) {
    for (const Index c : {1, 3, 8, 17}) {
      for (const Index s : {2, 7, 33}) {
        bits_do_not_depend_on_threads<3, kRow>({n, c, s}, 1);
        bits_do_not_depend_on_threads<3, kCol>({n, s, c + 1}, 2);
      }
    }
  }
}

// Rows that a map writes in whole lines, from wherever they begin; in place it cannot. Columns are read by copies of
// their coefficients.
template <class Scalar>
void bits_of_long_rows(Index cols) {
  using T = Guarded<Scalar, 2, kRow>;
  const Extents extents{20, cols};
  const Values x_values = normal(20 * cols, 7), z_values = normal(20 * cols, 8), dy_values = normal(20 * cols, 9);
  tensornorm::BatchNorm<Scalar> frozen(cols);
  tensornorm::LayerNorm<Scalar> norm({cols});
  frozen.forward(T(extents, x_values).map(), T(extents).map());
  frozen.eval();
  std::vector<std::string> expected;
  for (const Index misalign : {0, 1, 4, 5, 8}) {
    T x(extents, x_values, misalign), z(extents, z_values, misalign), dy(extents, dy_values, misalign);
    T y(extents, misalign), dx(extents, misalign);
    std::vector<std::string> results;
    const auto keep = [&](T& tensor) {
      results.push_back(bytes(tensor.map()));
      EXPECT_TRUE(tensor.guards_intact()) << cols << " columns, misaligned by " << misalign;
    };
    frozen.infer(x.map(), y.map());
    keep(y);
    norm.forward(x.map(), tensornorm::then_relu(y.map()));
    keep(y);
    norm.backward(x.map(), tensornorm::then_relu(dy.map()), dx.map());
    keep(dx);
    norm.forward(x.map(), tensornorm::then_times(y.map(), z.map()));
    keep(y);
    norm.backward(x.map(), tensornorm::then_times(dy.map(), z.map(), y.map()), dx.map());
    keep(y);
    keep(dx);
    norm.forward(x.map(), tensornorm::then_times(z.map(), z.map()));  // z becomes y
    keep(z);
    norm.backward(x.map(), dy.map(), dy.map());
    keep(dy);
    T inferred(extents, x_values, misalign);
    frozen.infer(inferred.map(), inferred.map());
    keep(inferred);
    norm.forward(x.map(), x.map());
    keep(x);
    if (expected.empty()) expected = results;
    for (std::size_t i = 0; i < results.size(); ++i) {
      EXPECT_TRUE(results[i] == expected[i])
          << "result " << i << ", " << cols << " columns, misaligned by " << misalign;
    }
    EXPECT_EQ(results[0], results[8]) << "infer in place";
  }
}
TEST(Threads, LongRows) {
  for (const Index cols : {257, 1025, 2051}) {
    bits_of_long_rows<float>(cols);
#ifndef TENSORNORM_TEST_FLOAT_ALONE
    bits_of_long_rows<Eigen::half>(cols);
    bits_of_long_rows<double>(cols);
#endif
  }
}

TEST(Threads, AnOwningTensorAndItsMapGiveTheSameBits) {
  Guarded<float, 4, kRow> x({3, 6, 5, 7}, normal(630, 3)), y({3, 6, 5, 7}, 1);
  for_each_layer<float>({3, 6, 5, 7}, 1, [&](const Kind& kind, auto layer) {
    const Eigen::Tensor<float, 4, kRow> owned = x.map();
    Eigen::Tensor<float, 4, kRow> owned_y;
    layer.forward(owned, owned_y);
    const std::string owned_results = results(layer);
    layer.forward(x.map(), y.map());
    EXPECT_EQ(bytes(owned_y), bytes(y.map())) << kind.name;
    EXPECT_EQ(owned_results, results(layer)) << kind.name;
  });
}

// Offers use(problem, name, layer, expected) every layer with a problem of 2.8 MB.
template <class Use>
void for_each_large_layer(Use use) {
  Problem<4, kRow> problem({4, 32, 83, 67});
  for_each_layer<float>(problem.extents, 1, [&](const Kind& kind, const auto& layer) {
    use(problem, kind.name, layer, problem.run(layer, Eigen::DefaultDevice()));
  });
}

// Without this every other test of this file could pass on one thread.
TEST(Pools, HelpWithLargeTensorsOnly) {
  CountingPool pool(4);
  const Eigen::ThreadPoolDevice device(&pool, 4);
  const auto counts = [&](const Extents& extents, auto&& check) {
    Guarded<float, 4, kRow> x(extents, normal(count(extents), 6)), y(extents);
    for_each_layer<float>(extents, 1, [&](const Kind& kind, auto layer) {
      const auto scheduled = [&](auto action) {
        const int before = pool.scheduled;
        action();
        return pool.scheduled - before;
      };
      check(scheduled([&] { layer.forward(device, x.map(), y.map()); }), kind.name + ", forward");
      check(scheduled([&] { layer.backward(device, x.map(), x.map(), y.map()); }), kind.name + ", backward");
      check(scheduled([&] { layer.infer(device, x.map(), y.map()); }), kind.name + ", infer");
    });
  };
  counts({4, 32, 83, 67}, [](int helpers, const std::string& what) { EXPECT_GT(helpers, 0) << what; });
  counts({2, 4, 3, 5}, [](int helpers, const std::string& what) { EXPECT_EQ(helpers, 0) << what; });
}

// Forwards to a pool that outlives it.
class BorrowedPool : public Eigen::ThreadPoolInterface {
 public:
  explicit BorrowedPool(Eigen::ThreadPool& pool) : pool_(&pool) {}
  ~BorrowedPool() override { pool_ = nullptr; }
  void Schedule(std::function<void()> work) override { pool_->Schedule(std::move(work)); }
  int NumThreads() const override { return pool_->NumThreads(); }
  int CurrentThreadId() const override { return pool_->CurrentThreadId(); }

 private:
  Eigen::ThreadPool* pool_;
};

TEST(Pools, MayBeGoneWhenAHelperStarts) {
  std::atomic<bool> release{false};
  Eigen::ThreadPool pool(1);
  pool.Schedule([&] {
    while (!release) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  Guarded<float, 2, kRow> x({512, 300}, normal(512 * 300, 6)), y({512, 300});
  tensornorm::LayerNorm<float> layer({300});
  {
    auto borrowed = std::make_unique<BorrowedPool>(pool);
    const Eigen::ThreadPoolDevice device(borrowed.get(), 2);
    layer.forward(device, x.map(), y.map());
  }
  release = true;
}

TEST(Pools, WithoutThreadsTheCallerWorksAlone) {
  Pool none(0, 1), claims_four(0, 4);
  for_each_large_layer([&](auto& problem, const std::string& name, const auto& layer, const Trace& expected) {
    expect_same(expected, problem.run(layer, none.device), name + ", a pool of no threads");
    expect_same(expected, problem.run(layer, claims_four.device), name + ", a device of 4 on a pool of no threads");
  });
}

TEST(Pools, ACallOnAPoolsOwnThreadRunsThere) {
  for (const int threads : {1, 2}) {
    Pool pool(threads);
    for_each_large_layer([&](auto& problem, const std::string& name, const auto& layer, const Trace& expected) {
      Trace trace;
      Eigen::Barrier done(1);
      pool.pool.Schedule([&] {
        trace = problem.run(layer, pool.device);
        done.Notify();
      });
      done.Wait();
      expect_same(expected, trace, name + " on a worker of " + std::to_string(threads));
    });
  }
}

// Eigen's own parallelFor hangs here.
TEST(Pools, WorkersAndOutsidersMayCallAtOnce) {
  Pool pool(2);
  for_each_large_layer([&](auto& problem, const std::string& name, const auto& layer, const Trace& expected) {
    const auto same_extents = problem.extents;
    std::vector<Trace> traces(4);
    const auto work = [&](std::size_t i) {
      Problem<4, kRow> own(same_extents);
      traces[i] = own.run(layer, pool.device);
    };
    Eigen::Barrier done(2);
    for (const std::size_t i : {0u, 1u}) {
      pool.pool.Schedule([&, i] {
        work(i);
        done.Notify();
      });
    }
    std::thread third(work, 2), fourth(work, 3);
    third.join();
    fourth.join();
    done.Wait();
    for (const Trace& trace : traces) expect_same(expected, trace, name + ", four callers on one pool");
  });
}

// A worker may itself be waiting for what this call computes.
TEST(Pools, ABusyPoolDoesNotHoldUpTheCaller) {
  Pool pool(2);
  std::atomic<bool> release{false}, gave_up{false};
  Eigen::Barrier parked(2), finished(2);
  for (int i = 0; i < 2; ++i) {
    pool.pool.Schedule([&] {
      parked.Notify();
      for (int waited = 0; !release && !gave_up; ++waited) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (waited > 20000) gave_up = true;
      }
      finished.Notify();
    });
  }
  parked.Wait();
  for_each_large_layer([&](auto& problem, const std::string& name, const auto& layer, const Trace& expected) {
    expect_same(expected, problem.run(layer, pool.device), name + ", all workers busy");
  });
  release = true;
  finished.Wait();
  EXPECT_FALSE(gave_up) << "a call waited for workers that were busy";
}

// Variables of a thread that are older than its first call may call layers as they are destroyed.
class CallsAtTheEnd {
 public:
  ~CallsAtTheEnd() { call(); }
  static void call() {
    Eigen::ThreadPool pool(2);
    const Eigen::ThreadPoolDevice device(&pool, 3);
    Guarded<float, 2, kRow> x({512, 300}, normal(512 * 300, 8)), y({512, 300}), expected({512, 300});
    tensornorm::LayerNorm<float> layer({300});
    layer.forward(x.map(), expected.map());
    for (int i = 0; i < 5; ++i) layer.forward(device, x.map(), y.map());
    EXPECT_TRUE(bytes(y.map()) == bytes(expected.map()));
  }
};
TEST(Pools, ServeAThreadToItsEnd) {
  std::thread([] {
    thread_local const CallsAtTheEnd last;
    CallsAtTheEnd::call();
  }).join();
}

// The first of them finds no plan, and some bring another shape than the one whose plan is kept. Two
// are alone, and one of them has the memory of the layer.
void many_threads_infer(const Extents& extents, int channel_axis) {
  using Image = Guarded<float, 4, kRow>;
  Pool shared(2), other(2);
  Extents fewer = extents;
  --fewer[0];
  Image x(extents, normal(count(extents), 4)), fewer_x(fewer, normal(count(fewer), 5));
  for_each_layer<float>(extents, channel_axis, [&](const Kind& kind, const auto& layer) {
    Image expected(extents), fewer_expected(fewer);
    const auto reference = layer;
    reference.infer(x.map(), expected.map());
    reference.infer(fewer_x.map(), fewer_expected.map());
    std::vector<std::unique_ptr<Image>> answers;
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i) {
      Image& input = i < 4 ? x : fewer_x;
      answers.push_back(std::make_unique<Image>(i < 4 ? extents : fewer));
      threads.emplace_back([&, i, in = input.map(), y = answers.back()->map()]() mutable {
        for (int repeat = 0; repeat < 3; ++repeat) {
          if (i % 3 == 0) layer.infer(in, y);
          if (i % 3 == 1) layer.infer(shared.device, in, y);
          if (i % 3 == 2) layer.infer(other.device, in, y);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_TRUE(answers[i]->same_bits(i < 4 ? expected : fewer_expected)) << kind.name << ", thread " << i;
    }
  });
}
TEST(Pools, OneLayerServesManyThreadsInInfer) { many_threads_infer({4, 32, 83, 67}, 1); }
TEST(Pools, OneLayerServesManyThreadsInInferChannelsLast) { many_threads_infer({4, 31, 11, 520}, -1); }

// No helper may still look at the caller's work when the call has returned.
TEST(Pools, APoolMayDieRightAfterTheCall) {
  const Extents extents{4, 32, 83, 67};
  Guarded<float, 4, kRow> x(extents, normal(count(extents), 5)), expected(extents), y(extents);
  tensornorm::GroupNorm<float> layer(4, 32);
  layer.forward(x.map(), expected.map());
  for (int repeat = 0; repeat < 40; ++repeat) {
    Pool pool(1 + repeat % 4);
    layer.forward(pool.device, x.map(), y.map());
    ASSERT_TRUE(y.same_bits(expected)) << "repeat " << repeat;
  }
}

}  // namespace
}  // namespace tensornorm_test
