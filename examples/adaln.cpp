// adaLN, as diffusion transformers condition on a time step: LayerNorm without parameters of its own, with a scale and
// a shift for each sample, y = norm(x) * (1 + scale[n]) + shift[n]. Forward, backward, and a check by central
// differences.
#include <cmath>
#include <cstdio>
#include <vector>

#include <tensornorm/functional.hpp>

using tensornorm::layer_norm, tensornorm::layer_norm_backward, tensornorm::Pass, tensornorm::plus_one, tensornorm::view,
    tensornorm::Index;

int main() {
  constexpr Index kSamples = 4, kTokens = 16, kFeatures = 64;
  const auto filled = [](Index n, double step) {
    std::vector<double> v(std::size_t(n), 0);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(step * double(i + 1));
    return v;
  };
  std::vector<double> x = filled(kSamples * kTokens * kFeatures, 0.7), dy = filled(Index(x.size()), 1.3), y(x.size()),
                      dx(x.size());
  // What a small network makes of the time step: a scale and a shift for each sample and feature.
  std::vector<double> scale = filled(kSamples * kFeatures, 0.3), shift = filled(kSamples * kFeatures, 0.2),
                      dscale(scale.size()), dshift(shift.size());
  const auto tokens = [&](auto& v) { return view(v.data(), {kSamples, kTokens, kFeatures}); };
  const auto samples = [&](auto& v) { return view(v.data(), {kSamples, 1, kFeatures}); };

  Pass<double> pass;
  layer_norm(tokens(x), plus_one(samples(scale)), samples(shift), 1e-6, tokens(y), pass);
  layer_norm_backward(tokens(x), tokens(dy), plus_one(samples(scale)), pass, tokens(dx), samples(dscale),
                      samples(dshift));

  // The loss is sum(dy * y).
  const auto loss = [&] {
    layer_norm(tokens(x), plus_one(samples(scale)), samples(shift), 1e-6, tokens(y));
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
    return sum;
  };
  double worst = 0;
  const auto compare = [&](std::vector<double>& v, const std::vector<double>& gradient) {
    for (std::size_t i = 0; i < v.size(); i += 37) {
      const double kept = v[i], step = 1e-5;
      v[i] = kept + step;
      const double above = loss();
      v[i] = kept - step;
      const double difference = (above - loss()) / (2 * step);
      v[i] = kept;
      worst = std::fmax(worst, std::fabs(difference - gradient[i]));
    }
  };
  compare(x, dx);
  compare(scale, dscale);
  compare(shift, dshift);
  std::printf("y of sample 0, token 0: %.6f %.6f %.6f ...\n", y[0], y[1], y[2]);
  std::printf("gradients of x, scale and shift: at most %.0e from central differences\n", worst);
  return worst < 1e-7 ? 0 : 1;
}
