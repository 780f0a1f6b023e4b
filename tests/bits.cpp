// Prints what every layer computes, bit for bit as far as a hash can tell: y, dx, state and infer's y, a line for each
// layer, shape and mode. Fails where three threads compute something else than one.
#define EIGEN_USE_THREADS
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

/// FNV-1a.
std::uint64_t hash(const std::string& bytes) {
  std::uint64_t h = 0xcbf29ce484222325;
  for (const char c : bytes) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return h;
}

/// Data that no library's distribution has a hand in: multiples of 1/64, all of them exact in a float.
Values data(Index n, unsigned seed) {
  std::mt19937 engine(seed);
  Values values(static_cast<std::size_t>(n));
  for (double& v : values) v = double(engine() % 4096) / 64 - 20;
  return values;
}

struct Hashes {
  std::uint64_t y, dx, state, inferred;

  bool operator==(const Hashes& other) const {
    return y == other.y && dx == other.dx && state == other.state && inferred == other.inferred;
  }
};

template <class Device, class Layer, class Map>
Hashes hashes(const Device& device, Layer layer, Map x, Map dy, Map y, Map dx) {
  layer.forward(device, x, y);
  layer.backward(device, x, dy, dx);
  Hashes h{hash(bytes(y)), hash(bytes(dx)), hash(state(layer)), 0};
  layer.infer(device, x, y);
  h.inferred = hash(bytes(y));
  return h;
}

template <class Scalar, int Layout, int Rank>
void print(const Index (&extents_of)[Rank], int channel_axis) {
  static Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice threads(&pool, 3);
  const Extents extents(extents_of, extents_of + Rank);
  Guarded<Scalar, Rank, Layout> x(extents, data(count(extents), 1)), dy(extents, data(count(extents), 2)), y(extents),
      dx(extents);
  for_each_layer<Scalar>(extents, channel_axis, [&](const Kind& kind, auto layer) {
    for (const bool training : {true, false}) {
      training ? layer.train() : layer.eval();
      const Hashes h = hashes(Eigen::DefaultDevice(), layer, x.map(), dy.map(), y.map(), dx.map());
      std::printf("%016llx %016llx %016llx %016llx %s %s %s\n", static_cast<unsigned long long>(h.y),
                  static_cast<unsigned long long>(h.dx), static_cast<unsigned long long>(h.state),
                  static_cast<unsigned long long>(h.inferred), kind.name.c_str(), layout_name(Layout).c_str(),
                  training ? "train" : "eval");
      if (!(h == hashes(threads, layer, x.map(), dy.map(), y.map(), dx.map()))) {
        std::printf("three threads differ\n");
        std::exit(1);
      }
    }
  });
}

/// Rows and columns, narrower and wider than vectors and blocks, whole and with tails.
template <class Scalar>
void print_each() {
  print<Scalar, kRow>({67, 100}, 1);
  print<Scalar, kRow>({9, 1}, 1);
  print<Scalar, kRow>({19, 5}, 1);
  print<Scalar, kRow>({40, 1029}, 1);
  print<Scalar, kCol>({67, 100}, 1);
  print<Scalar, kRow>({3, 8, 7, 7}, 1);
  print<Scalar, kRow>({3, 19, 9, 12}, -1);
  print<Scalar, kRow>({2, 6, 5, 300}, -1);
  print<Scalar, kCol>({5, 12, 6, 4}, 1);
  print<Scalar, kCol>({33, 12, 9, 3}, 1);
}

}  // namespace
}  // namespace tensornorm_test

int main() {
  using namespace tensornorm_test;
  print_each<float>();
  print_each<double>();
  print_each<Eigen::half>();
  print_each<Eigen::bfloat16>();
  // Lines cut in parts, and outputs that go past the cache.
  print<float, kRow>({2, 40000}, 1);
  print<float, kRow>({70, 30011}, 1);
  print<float, kCol>({20000, 37}, 1);
  print<float, kRow>({4, 32, 130, 128}, 1);
  print<float, kRow>({4, 130, 128, 32}, -1);
  print<float, kCol>({4, 32, 61, 50}, 1);
}
