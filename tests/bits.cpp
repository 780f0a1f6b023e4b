// Prints what the library computes, bit for bit as far as a hash can tell: a line for each layer, shape, data and mode,
// of y, dx, the layer's state and infer's y. tests/bits.txt holds the lines, which are the same on every machine. NaNs
// count as one number: processors give them different signs. Fails where three threads compute something else than one.
#define EIGEN_USE_THREADS
#include <cfenv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

/// FNV-1a of numbers.
class Hash {
 public:
  template <class T>
  void add(const T* values, Index n) {
    for (Index i = 0; i < n; ++i) {
      const bool is_nan = core::is_nan(static_cast<double>(values[i]));
      const T value = is_nan ? Eigen::NumTraits<T>::quiet_NaN() : values[i];
      unsigned char bytes[sizeof(T)];
      std::memcpy(bytes, static_cast<const void*>(&value), sizeof value);
      if (is_nan) bytes[sizeof(T) - 1] &= 0x7f;
      for (const unsigned char byte : bytes) hash_ = (hash_ ^ byte) * 0x100000001b3;
    }
  }
  template <class Dense>
  void add(const Dense& a) {
    add(a.data(), Index(a.size()));
  }
  bool operator==(const Hash& other) const { return hash_ == other.hash_; }
  void print(const std::string& what) const {
    std::printf("%016llx %s\n", static_cast<unsigned long long>(hash_), what.c_str());
  }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325;
};

template <class Layer>
void add_state(const Layer& layer, Hash& hash) {
  hash.add(layer.dgamma());
  hash.add(layer.rstd());
  if constexpr (has_beta<Layer>) hash.add(layer.dbeta());
  if constexpr (has_mean<Layer>) hash.add(layer.mean());
  if constexpr (has_running<Layer>) {
    hash.add(layer.running_mean());
    hash.add(layer.running_var());
  }
}

// Data that no library's distribution has a hand in.
using Draw = double (*)(std::mt19937& engine, Index i);

/// Multiples of 1/64.
double plain(std::mt19937& engine, Index) { return double(engine() % 4096) / 64 - 20; }
/// All digits of a float, far from 0.
double offset(std::mt19937& engine, Index) { return double(engine()) * 0x1p-30 + 1000; }
/// Many sizes, and now and then what overflows when it is squared, underflows, or is no number.
double special(std::mt19937& engine, Index i) {
  if (i % 1009 == 505) return std::numeric_limits<double>::quiet_NaN();
  if (i % 1511 == 755) return std::numeric_limits<double>::infinity();
  const double v = double(engine()) * 0x1p-31 - 1;
  return i % 97 == 48 ? v * 1e30 : i % 89 == 44 ? v * 1e-41 : i % 7 == 3 ? v * 1e4 : v;
}

Values drawn(Draw draw, Index n, unsigned seed) {
  std::mt19937 engine(seed);
  Values values(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = draw(engine, i);
  return values;
}

const Eigen::ThreadPoolDevice& three_threads() {
  static Eigen::ThreadPool pool(2);
  static const Eigen::ThreadPoolDevice device(&pool, 3);
  return device;
}

/// Calls run(device, hash) on one thread and on three, and prints the hash.
template <class Run>
void print_hash(const std::string& what, const Run& run) {
  Hash one, three;
  run(Eigen::DefaultDevice(), one);
  one.print(what);
  run(three_threads(), three);
  if (one == three) return;
  std::printf("three threads differ\n");
  std::exit(1);
}

template <class Scalar, int Layout, int Rank>
void print(const Index (&extents_of)[Rank], int channel_axis, const char* name = "plain", Draw draw = plain) {
  const Extents extents(extents_of, extents_of + Rank);
  Guarded<Scalar, Rank, Layout> x(extents, drawn(draw, count(extents), 1)),
      dy(extents, drawn(plain, count(extents), 2)), y(extents), dx(extents);
  auto to_y = y.map(), to_dx = dx.map();
  for_each_layer<Scalar>(extents, channel_axis, [&](const Kind& kind, const auto& made) {
    for (const bool training : {true, false}) {
      const std::string mode = training ? " train" : " eval";
      print_hash(kind.name + " " + layout_name(Layout) + " " + name + mode, [&](const auto& device, Hash& hash) {
        auto layer = made;
        layer.train(training);
        layer.forward(device, x.map(), to_y);
        layer.backward(device, x.map(), dy.map(), to_dx);
        hash.add(to_y);
        hash.add(to_dx);
        add_state(layer, hash);
        layer.infer(device, x.map(), to_y);
        hash.add(to_y);
      });
    }
  });
}

template <class Scalar, int Layout, int Rank>
void print_all(const Index (&extents)[Rank], int channel_axis) {
  print<Scalar, Layout>(extents, channel_axis);
  print<Scalar, Layout>(extents, channel_axis, "offset", offset);
  print<Scalar, Layout>(extents, channel_axis, "special", special);
}

/// Rows and columns of every length up to some vectors: one line for all.
template <class Scalar, class Make>
void print_lengths(const char* name, const Make& make) {
  print_hash(std::string(name) + "<" + name_of<Scalar>() + "> lengths 1 to 70", [&](const auto& device, Hash& hash) {
    for (Index n = 1; n <= 70; ++n) {
      const Extents extents{7, n};
      Guarded<Scalar, 2, kRow> x(extents, drawn(offset, 7 * n, 1)), dy(extents, drawn(plain, 7 * n, 2)), y(extents);
      auto layer = make(n);
      auto to = y.map();
      layer.forward(device, x.map(), to);
      hash.add(to);
      layer.backward(device, x.map(), dy.map(), to);
      hash.add(to);
      add_state(layer, hash);
    }
  });
}

/// A row has the same bits whatever stands beside it: lines of a batch, and of each row alone.
template <class Scalar>
void print_rows_alone() {
  constexpr Index rows = 29, n = 83;
  const Extents all{rows, n}, one{1, n};
  Guarded<Scalar, 2, kRow> x(all, drawn(special, rows * n, 1)), y(all), alone(all);
  const LayerNorm<Scalar> layer(n);
  auto to = y.map();
  layer.infer(x.map(), to);
  for (Index r = 0; r < rows; ++r) {
    layer.infer(view(x.map().data() + r * n, one), view(alone.map().data() + r * n, one));
  }
  Hash together, apart;
  together.add(to);
  apart.add(alone.map());
  if (!(together == apart)) {
    std::printf("a row alone differs\n");
    std::exit(1);
  }
  together.print("LayerNorm<" + name_of<Scalar>() + "> rows alone");
}

/// What comes after a layer and beside it.
template <class Scalar>
void print_others() {
  const Extents extents{45, 6, 50};
  const Index n = count(extents);
  Guarded<Scalar, 3, kRow> x(extents, drawn(offset, n, 1)), r(extents, drawn(plain, n, 2)), y(extents), dx(extents);
  auto to_y = y.map(), to_dx = dx.map();
  print_hash("LayerNorm of a sum, ReLU, product<" + name_of<Scalar>() + ">", [&](const auto& device, Hash& hash) {
    LayerNorm<Scalar> layer(50);
    stir(layer);
    layer.forward(device, add(x.map(), r.map(), to_dx), then_relu(to_y));
    hash.add(to_y);
    layer.backward(device, to_dx, then_relu(r.map()), to_y);
    hash.add(to_y);
    layer.forward(device, x.map(), then_times(to_y, r.map()));
    hash.add(to_y);
    layer.backward(device, x.map(), then_times(r.map(), r.map(), to_dx), to_y);
    hash.add(to_dx);
    hash.add(to_y);
    add_state(layer, hash);
  });
  print_hash("Normalization over 0, 2 along 1, 2<" + name_of<Scalar>() + ">", [&](const auto& device, Hash& hash) {
    Normalization<Scalar> layer({0, 2}, {1, 2}, {1e-5, true, true, {6, 50}});
    layer.forward(device, x.map(), to_y);
    layer.backward(device, x.map(), r.map(), to_dx);
    hash.add(to_y);
    hash.add(to_dx);
    add_state(layer, hash);
  });
  print_hash("UnitNorm<" + name_of<Scalar>() + ">", [&](const auto& device, Hash& hash) {
    UnitNorm<Scalar> layer;
    layer.forward(device, x.map(), to_y);
    layer.backward(device, x.map(), r.map(), to_dx);
    hash.add(to_y);
    hash.add(to_dx);
  });
}

/// Clipping by each norm, and by value.
template <class Scalar>
void print_clipping(const char* name, Draw draw) {
  const Extents extents{40, 333};
  print_hash("clipping<" + name_of<Scalar>() + "> " + name, [&](const auto& device, Hash& hash) {
    for (const NormType type : {NormType::kOne, NormType::kTwo, NormType::kInfinity}) {
      Guarded<Scalar, 2, kRow> g(extents, drawn(draw, count(extents), 1));
      auto gradient = g.map();
      const double norm = clip_grad_norm(device, 1.5, {type, false}, gradient);
      hash.add(&norm, 1);
      hash.add(gradient);
      clip_grad_value(device, 0.001, gradient);
      hash.add(gradient);
    }
  });
}

template <class Scalar>
void print_each() {
  // Rows and columns, narrower and wider than vectors and blocks, whole and with tails.
  print_all<Scalar, kRow>({67, 100}, 1);
  print<Scalar, kRow>({9, 1}, 1);
  print_all<Scalar, kRow>({19, 5}, 1);
  print<Scalar, kRow>({7, 129}, 1, "offset", offset);
  print<Scalar, kRow>({7, 145}, 1, "offset", offset);
  print<Scalar, kRow>({5, 200}, 1, "offset", offset);
  print<Scalar, kRow>({5, 257}, 1, "offset", offset);
  print<Scalar, kRow>({5, 300}, 1, "offset", offset);
  print<Scalar, kRow>({40, 1029}, 1, "offset", offset);
  print<Scalar, kCol>({67, 100}, 1);
  print_all<Scalar, kRow>({3, 8, 7, 7}, 1);
  print<Scalar, kRow>({3, 19, 9, 12}, -1, "offset", offset);
  print<Scalar, kRow>({2, 6, 5, 300}, -1);
  print<Scalar, kCol>({5, 12, 6, 4}, 1, "offset", offset);
  print<Scalar, kCol>({33, 12, 9, 3}, 1);
  print_lengths<Scalar>("LayerNorm", [](Index n) { return LayerNorm<Scalar>(n); });
  print_lengths<Scalar>("RMSNorm", [](Index n) { return RMSNorm<Scalar>(n); });
  print_lengths<Scalar>("BatchNorm", [](Index n) { return BatchNorm<Scalar>(n); });
  print_rows_alone<Scalar>();
  print_others<Scalar>();
  print_clipping<Scalar>("plain", plain);
  print_clipping<Scalar>("special", [](std::mt19937& engine, Index i) {
    const double v = special(engine, i);
    return core::is_finite(v) ? v : 0;
  });
}

}  // namespace
}  // namespace tensornorm_test

int main() {
  using namespace tensornorm_test;
  std::fesetenv(FE_DFL_ENV);  // linked with -ffast-math a program begins with denormal numbers off
  print_each<float>();
  print_each<double>();
  print_each<Eigen::half>();
  print_each<Eigen::bfloat16>();
  // Lines cut in parts, and outputs that go past the cache.
  print<float, kRow>({2, 40000}, 1, "offset", offset);
  print<float, kRow>({70, 30011}, 1);
  print<float, kCol>({20000, 37}, 1, "offset", offset);
  print<float, kRow>({4, 32, 130, 128}, 1);
  print<float, kRow>({4, 130, 128, 32}, -1, "offset", offset);
  print<float, kCol>({4, 32, 61, 50}, 1);
  // Rows in many blocks: their size decides the order in which parameters' gradients are summed.
  print<double, kRow>({5000, 64}, 1);
}
