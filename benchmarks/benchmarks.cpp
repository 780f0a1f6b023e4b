// Every layer, forward in training, infer and backward, over shapes from known networks:
// LAYER/PASS/AXES/EXTENTS/SCALAR. A large tensor costs what it moves, so each line also says how many plain copies
// (memcpy from x to y on one thread) it took: `copies`. `copy` itself is measured beside, once for every size.

#define EIGEN_USE_THREADS
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <tensornorm/tensornorm.hpp>

namespace {

using tensornorm::BatchNorm;
using tensornorm::GroupNorm;
using tensornorm::Index;
using tensornorm::InstanceNorm;
using tensornorm::LayerNorm;
using tensornorm::RMSNorm;
using Clock = std::chrono::steady_clock;

template <class Scalar>
constexpr const char* kName = "float";
template <>
constexpr const char* kName<double> = "double";
template <>
constexpr const char* kName<Eigen::half> = "half";
template <>
constexpr const char* kName<Eigen::bfloat16> = "bfloat16";

struct Train {
  static constexpr const char* kPass = "train";
  static constexpr Index kStreams = 2;  // reads x, writes y
  template <class Layer, typename Device, typename Tensor>
  static void run(Layer& layer, const Device& device, const Tensor& x, const Tensor&, Tensor& y) {
    layer.forward(device, x, y);
  }
};

struct Infer {
  static constexpr const char* kPass = "infer";
  static constexpr Index kStreams = 2;
  template <class Layer, typename Device, typename Tensor>
  static void run(Layer& layer, const Device& device, const Tensor& x, const Tensor&, Tensor& y) {
    layer.infer(device, x, y);
  }
};

struct Backward {
  static constexpr const char* kPass = "backward";
  static constexpr Index kStreams = 3;  // reads x and dy, writes dx
  template <class Layer, typename Device, typename Tensor>
  static void run(Layer& layer, const Device& device, const Tensor& x, const Tensor& dy, Tensor& dx) {
    layer.backward(device, x, dy, dx);
  }
};

/// Normal numbers; a short period, because only their order of magnitude can matter to the time.
template <class Tensor, typename Extents>
Tensor normal_tensor(const Extents& extents, unsigned seed) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal;
  std::array<float, 10007> period;
  for (float& value : period) value = normal(bits);
  Tensor x(extents);
  for (Index i = 0; i < x.size(); ++i) {
    x.data()[i] = static_cast<typename Tensor::Scalar>(period[static_cast<std::size_t>(i) % period.size()]);
  }
  return x;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The best of many, for about 20 ms.
double copy_seconds(const void* from, void* to, std::size_t bytes) {
  const std::size_t repeats = 1 + (std::size_t{1} << 20) / bytes;
  double best = 1;
  for (const auto begin = Clock::now(); seconds_since(begin) < 0.02;) {
    const auto start = Clock::now();
    for (std::size_t i = 0; i < repeats; ++i) {
      std::memcpy(to, from, bytes);
      benchmark::ClobberMemory();
    }
    best = std::min(best, seconds_since(start) / static_cast<double>(repeats));
  }
  return best;
}

template <class Pass, typename Tensor, typename Layer, typename Device, typename Extents>
void measure(benchmark::State& state, Layer layer, const Device& device, const Extents& extents) {
  const auto x = normal_tensor<Tensor>(extents, 1);
  const auto dy = normal_tensor<Tensor>(extents, 2);
  Tensor y = x;
  const std::size_t bytes = static_cast<std::size_t>(x.size()) * sizeof(typename Tensor::Scalar);
  const double copy = copy_seconds(x.data(), y.data(), bytes);
  layer.forward(device, x, y);

  const auto start = Clock::now();
  for (auto _ : state) {
    Pass::run(layer, device, x, dy, y);
    benchmark::ClobberMemory();
  }
  const double iterations = static_cast<double>(state.iterations());
  state.counters["copies"] = seconds_since(start) / iterations / copy;
  state.SetBytesProcessed(state.iterations() * Pass::kStreams * static_cast<std::int64_t>(bytes));
}

void measure_copy(benchmark::State& state, std::size_t bytes) {
  const std::vector<char> x(bytes, 1);
  std::vector<char> y(bytes);
  for (auto _ : state) {
    std::memcpy(y.data(), x.data(), bytes);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * 2 * static_cast<std::int64_t>(bytes));
}

void add_copy(const std::string& extents_and_scalar, std::size_t bytes) {
  static std::set<std::string> known;
  if (!known.insert(extents_and_scalar).second) return;
  benchmark::RegisterBenchmark(("copy/" + extents_and_scalar).c_str(), measure_copy, bytes);
}

const Eigen::ThreadPoolDevice& all_cores() {
  static const int cores = static_cast<int>(std::thread::hardware_concurrency());
  static Eigen::ThreadPool pool(cores);
  static const Eigen::ThreadPoolDevice device(&pool, cores);
  return device;
}

/// One shape: `layer` copied for each of the passes, on one core or on all of them.
template <class Scalar, std::size_t kRank, typename Layer>
void add(const std::string& layer_name, const std::string& axes, const std::array<Index, kRank>& extents,
         const Layer& layer, bool threads = false) {
  using Tensor = Eigen::Tensor<Scalar, static_cast<int>(kRank), Eigen::RowMajor>;
  std::string shape;
  std::size_t bytes = sizeof(Scalar);
  for (const Index extent : extents) {
    shape += (shape.empty() ? "" : "x") + std::to_string(extent);
    bytes *= static_cast<std::size_t>(extent);
  }
  shape += std::string("/") + kName<Scalar>;
  add_copy(shape, bytes);

  const auto add_pass = [&](auto pass) {
    using Pass = decltype(pass);
    const std::string name = layer_name + "/" + Pass::kPass + "/" + axes + "/" + shape;
    if (threads) {
      benchmark::RegisterBenchmark((name + "/all_cores").c_str(), [=](benchmark::State& state) {
        measure<Pass, Tensor>(state, layer, all_cores(), extents);
      })->UseRealTime();
    } else {
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
        measure<Pass, Tensor>(state, layer, Eigen::DefaultDevice(), extents);
      });
    }
  };
  add_pass(Train{});
  add_pass(Infer{});
  add_pass(Backward{});
}

void add_batch_norm() {
  tensornorm::BatchNormOptions channels_last;
  channels_last.channel_axis = -1;
  for (const auto& [c, s] : {std::pair<Index, Index>{64, 56}, {256, 56}, {512, 28}, {1024, 14}, {2048, 7}}) {
    add<float, 4>("BatchNorm", "NCHW", {32, c, s, s}, BatchNorm<float>(c));  // ResNet-50
    add<float, 4>("BatchNorm", "NHWC", {32, s, s, c}, BatchNorm<float>(c, channels_last));
  }
  add<float, 2>("BatchNorm", "NC", {256, 512}, BatchNorm<float>(512));
  add<float, 4>("BatchNorm", "NCHW", {32, 256, 56, 56}, BatchNorm<float>(256), true);
  add<float, 4>("BatchNorm", "NHWC", {32, 56, 56, 256}, BatchNorm<float>(256, channels_last), true);
}

void add_layer_norm() {
  add<float, 2>("LayerNorm", "ND", {1, 4096}, LayerNorm<float>({4096}));    // one token
  add<float, 2>("LayerNorm", "ND", {512, 768}, LayerNorm<float>({768}));    // BERT base, one sequence
  add<float, 2>("LayerNorm", "ND", {16384, 768}, LayerNorm<float>({768}));  // GPT-2, 16 sequences of 1024
  add<double, 2>("LayerNorm", "ND", {512, 768}, LayerNorm<double>({768}));
  add<Eigen::half, 2>("LayerNorm", "ND", {512, 768}, LayerNorm<Eigen::half>({768}));
  add<Eigen::bfloat16, 2>("LayerNorm", "ND", {512, 768}, LayerNorm<Eigen::bfloat16>({768}));
  add<float, 2>("LayerNorm", "ND", {16384, 768}, LayerNorm<float>({768}), true);
}

void add_others() {
  add<float, 2>("RMSNorm", "ND", {4096, 4096}, RMSNorm<float>({4096}));  // Llama 2 7B, one sequence
  add<float, 2>("RMSNorm", "ND", {4096, 4096}, RMSNorm<float>({4096}), true);
  add<float, 4>("GroupNorm", "NCHW", {2, 320, 64, 64}, GroupNorm<float>(32, 320));  // Stable Diffusion
  add<float, 4>("GroupNorm", "NCHW", {2, 320, 64, 64}, GroupNorm<float>(32, 320), true);
  add<float, 4>("InstanceNorm", "NCHW", {4, 64, 128, 128}, InstanceNorm<float>(64));  // style transfer
  add<float, 4>("InstanceNorm", "NCHW", {4, 64, 128, 128}, InstanceNorm<float>(64), true);
}

}  // namespace

int main(int argc, char** argv) {
#if !defined(__OPTIMIZE__) || !defined(NDEBUG)
  std::cerr << "compiled without optimization or with assertions: these times would mean nothing\n";
  return 1;
#endif
  add_batch_norm();
  add_layer_norm();
  add_others();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
