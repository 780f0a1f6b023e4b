// Prints what every layer computes, bit for bit as far as a hash can tell: a line for each layer and shape.
#include <cstdint>
#include <cstdio>

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

template <class Scalar, int Rank>
void print(const Extents& extents, int channel_axis) {
  Guarded<Scalar, Rank, kRow> x(extents, data(count(extents), 1)), dy(extents, data(count(extents), 2)), y(extents),
      dx(extents);
  const auto xm = x.map(), dym = dy.map();
  auto ym = y.map(), dxm = dx.map();
  for_each_layer<Scalar>(extents, channel_axis, [&](const Kind& kind, auto layer) {
    for (const bool training : {true, false}) {
      training ? layer.train() : layer.eval();
      layer.forward(xm, ym);
      layer.backward(xm, dym, dxm);
      std::printf("%016llx %016llx %016llx %s %s\n", static_cast<unsigned long long>(hash(bytes(ym))),
                  static_cast<unsigned long long>(hash(bytes(dxm))),
                  static_cast<unsigned long long>(hash(state(layer))), kind.name.c_str(), training ? "train" : "eval");
    }
  });
}

}  // namespace
}  // namespace tensornorm_test

int main() {
  using namespace tensornorm_test;
  print<float, 2>({67, 100}, 1);
  print<float, 4>({3, 8, 7, 7}, 1);
  print<float, 4>({3, 19, 9, 12}, -1);
  print<float, 2>({2, 40000}, 1);
}
