// Calls that do what comes before or after a layer too, beside the layer's call and a loop of Eigen's for the rest: a
// residual sum, an activation, a gate, a scale and shift for each sample; and unit normalization. Float, one thread.
//   fused [--seconds S]   for each row of the table, 0.5 by default
// Each pair is checked to give the same. Copies are streaming copies of x: what must be read and written is so many.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <string>

#include <tensornorm/tensornorm.hpp>

#include "data.hpp"
#include "timing.hpp"

namespace {

using bench::Index;
using tensornorm::add;
using tensornorm::add_to;
using tensornorm::BatchNorm;
using tensornorm::LayerNorm;
using tensornorm::RMSNorm;
using tensornorm::then_relu;
using tensornorm::then_times;
using tensornorm::unit_norm;
using Rows = Eigen::Map<Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

class Call : public bench::Contender {
 public:
  explicit Call(std::function<void()> call) : call_(std::move(call)) {}
  void run() override { call_(); }
  const void* result() const override { return nullptr; }

 private:
  std::function<void()> call_;
};

double seconds = 0.5;

// Tensors of n rows of d.
class Tensors {
 public:
  Tensors(Index rows, Index cols) : n(rows), d(cols) {
    unsigned state = 1;
    for (bench::Memory& memory : memory_) {
      float* const values = static_cast<float*>(memory.data());
      for (Index i = 0; i < n * d; ++i) {
        state = state * 1664525U + 1013904223U;
        values[i] = static_cast<float>(state >> 8) / (1 << 23) - 0.9F;
      }
    }
  }
  Rows rows(int i) { return {static_cast<float*>(memory_[i].data()), n, d}; }
  std::size_t bytes() const { return static_cast<std::size_t>(n * d) * sizeof(float); }

  const Index n, d;

 private:
  bench::Memory memory_[8] = {bench::Memory(bytes()), bench::Memory(bytes()), bench::Memory(bytes()),
                              bench::Memory(bytes()), bench::Memory(bytes()), bench::Memory(bytes()),
                              bench::Memory(bytes()), bench::Memory(bytes())};
};

// Two ways to fill the result; x and y are for a copy of their bytes. False where they differ.
bool measure(const std::string& what, Tensors& t, double copies, int result, int other_result,
             const std::function<void()>& fused, const std::function<void()>& separate) {
  fused();
  separate();
  const double difference = (t.rows(result) - t.rows(other_result)).abs().maxCoeff();
  std::vector<bench::Timed> timed;
  timed.push_back({"fused", std::make_unique<Call>(fused)});
  timed.push_back({"separate", std::make_unique<Call>(separate)});
  timed.push_back({"copy", bench::make_streaming_copy(t.bytes(), 1, t.rows(0).data(), t.rows(7).data())});
  bench::time_in_turns(timed, 1, seconds);
  const double one = timed[0].median(), both = timed[1].median(), floor = copies * timed[2].median();
  std::printf("%-34s %6td x %-4td %10.2f %10.2f %6.2f %7.2f %s\n", what.c_str(), t.n, t.d, one * 1e6, both * 1e6,
              one / both, one / floor, difference < 2e-5 ? "" : "DIFFER");
  std::fflush(stdout);
  return difference < 2e-5;
}

// x, and r or z: 0 and 1; dy: 2; results: 3 and 4; what calls leave besides: 5 to 7.
bool measure_all(Index n, Index d) {
  Tensors t(n, d);
  Rows x = t.rows(0), r = t.rows(1), dy = t.rows(2), y = t.rows(3), y2 = t.rows(4), h = t.rows(5), result = t.rows(6),
       scratch = t.rows(7);
  bool same = true;
  LayerNorm<float> norm(d);
  norm.gamma() = Eigen::ArrayXf::LinSpaced(d, 0.5F, 1.5F);
  same &= measure(
      "LayerNorm of x + r, kept", t, 2, 3, 4, [&] { norm.forward(add(x, r, h), y); },
      [&] {
        h = x + r;
        norm.forward(h, y2);
      });
  norm.forward(x, result);
  same &= measure(
      "its backward, added to dh", t, 3, 3, 4,
      [&] {
        y = dy;
        norm.backward(x, dy, add_to(y));
      },
      [&] {
        y2 = dy;
        norm.backward(x, dy, h);
        y2 += h;
      });
  same &= measure(
      "ReLU of LayerNorm", t, 1, 3, 4, [&] { norm.forward(x, then_relu(y)); },
      [&] {
        norm.forward(x, y2);
        y2 = y2.max(0.0F);
      });
  norm.forward(x, result);
  same &= measure(
      "its backward", t, 1.5, 3, 4, [&] { norm.backward(x, then_relu(dy), y); },
      [&] {
        h = dy * (result > 0).cast<float>();
        norm.backward(x, h, y2);
      });
  BatchNorm<float> batch(d);
  same &= measure(
      "ReLU of BatchNorm", t, 1, 3, 4, [&] { batch.forward(x, then_relu(y)); },
      [&] {
        batch.forward(x, y2);
        y2 = y2.max(0.0F);
      });
  same &= measure(
      "ReLU of BatchNorm, infer", t, 1, 3, 4, [&] { batch.infer(x, then_relu(y)); },
      [&] {
        batch.infer(x, y2);
        y2 = y2.max(0.0F);
      });
  RMSNorm<float> rms(d);
  same &= measure(
      "RMSNorm times z", t, 1.5, 3, 4, [&] { rms.forward(x, then_times(y, r)); },
      [&] {
        rms.forward(x, y2);
        y2 *= r;
      });
  rms.forward(x, result);
  same &= measure(
      "its backward, with dz", t, 2.5, 3, 4, [&] { rms.backward(x, then_times(dy, r, t.rows(5)), y); },
      [&] {
        h = dy * result;
        scratch = dy * r;
        rms.backward(x, scratch, y2);
      });
  same &= measure(
      "UnitNorm beside Eigen's normalized", t, 1, 3, 4, [&] { unit_norm(x, 1e-12, y); },
      [&] { y2 = x.matrix().rowwise().normalized().array(); });
  return same;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--seconds") == 0) {
    seconds = std::atof(argv[2]);
  } else if (argc > 1) {
    std::cerr << "fused [--seconds S]\n";
    return 2;
  }
  bench::prepare_to_measure();
  std::printf("%-34s %13s %10s %10s %6s %7s\n", "", "", "us", "separate", "ratio", "/floor");
  bool same = true;
  for (const auto& [n, d] : {std::pair<Index, Index>{32, 64}, {512, 768}, {65536, 64}, {16384, 768}}) {
    same &= measure_all(n, d);
  }
  return same ? 0 : 1;
}
