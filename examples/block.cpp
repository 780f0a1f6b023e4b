// A pre-norm transformer block, forward and backward: residual sums, query-key norms and attention, by the fused calls
// and by separate ones. Both give the same bits, but for the order of sums in gamma's gradients; the times are those of
// the normalizations and sums.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <tensornorm/tensornorm.hpp>

using Matrix = Eigen::MatrixXf;  // features x tokens: a token's features lie side by side, as in a row-major tensor
using tensornorm::add, tensornorm::add_to, tensornorm::view, tensornorm::Index;

namespace {

constexpr Index kTokens = 512, kHeads = 8, kWidth = 64, kFeatures = kHeads * kWidth;

// softmax(K^T Q / sqrt(width)) V of each head.
Matrix attend(const Matrix& qkv, std::vector<Matrix>& weights) {
  Matrix out(kFeatures, kTokens);
  for (Index h = 0; h < kHeads; ++h) {
    const auto q = qkv.middleRows(h * kWidth, kWidth), k = qkv.middleRows(kFeatures + h * kWidth, kWidth);
    Matrix w = (k.transpose() * q / std::sqrt(float(kWidth))).array().exp();
    w.array().rowwise() /= w.colwise().sum().array().eval();
    out.middleRows(h * kWidth, kWidth) = qkv.middleRows(2 * kFeatures + h * kWidth, kWidth) * w;
    weights[std::size_t(h)] = w;
  }
  return out;
}
// The gradients of q, k and v, in the place of these.
Matrix attend_backward(const Matrix& qkv, const std::vector<Matrix>& weights, const Matrix& dout) {
  Matrix d(3 * kFeatures, kTokens);
  for (Index h = 0; h < kHeads; ++h) {
    const Index q = h * kWidth, k = q + kFeatures, v = k + kFeatures;
    const Matrix& w = weights[std::size_t(h)];
    Matrix dw = qkv.middleRows(v, kWidth).transpose() * dout.middleRows(q, kWidth);
    const Eigen::RowVectorXf mean = w.cwiseProduct(dw).colwise().sum();
    dw = w.cwiseProduct(dw.rowwise() - mean) / std::sqrt(float(kWidth));
    d.middleRows(q, kWidth) = qkv.middleRows(k, kWidth) * dw;
    d.middleRows(k, kWidth) = qkv.middleRows(q, kWidth) * dw.transpose();
    d.middleRows(v, kWidth) = dout.middleRows(q, kWidth) * w.transpose();
  }
  return d;
}

struct Block {
  tensornorm::LayerNormOptions columns;
  tensornorm::LayerNorm<float> norm;
  tensornorm::RMSNorm<float> query{kWidth}, key{kWidth};
  Matrix w_qkv = Matrix::Random(3 * kFeatures, kFeatures) / 16, w_out = Matrix::Random(kFeatures, kFeatures) / 16;
  Matrix h, y, raw, qkv, dy = Matrix(kFeatures, kTokens);
  std::vector<Matrix> weights = std::vector<Matrix>(kHeads);
  double seconds = 0;

  Block() : columns{}, norm(made(columns)) {}
  static tensornorm::LayerNorm<float> made(tensornorm::LayerNormOptions& options) {
    options.axis = 0;  // samples are columns
    return tensornorm::LayerNorm<float>(kFeatures, options);
  }
  template <class Work>
  void timed(const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  // The queries or the keys of all heads, where they lie: part 0 or 1 of the rows.
  static auto part(Matrix& m, Index i) {
    return view(m.data() + i * kFeatures, {kTokens, kHeads, kWidth}, {3 * kFeatures, kWidth, 1});
  }

  // Returns the block's output, the next residual; h is the stream.
  Matrix forward(const Matrix& x, const Matrix& r, bool fused) {
    timed([&] {
      if (fused) return norm.forward(add(x, r, h), y);
      h = x + r;
      norm.forward(h, y);
    });
    raw.noalias() = w_qkv * y;
    timed([&] {
      qkv = raw;  // backward needs what was normalized
      if (fused) {
        query.forward(part(raw, 0), part(qkv, 0));
        key.forward(part(raw, 1), part(qkv, 1));
      } else {
        for (Index i = 0; i < 2; ++i) {
          const Matrix dense = raw.middleRows(i * kFeatures, kFeatures);
          Matrix normalized(kFeatures, kTokens);
          (i == 0 ? query : key)
              .forward(view(dense.data(), {kTokens, kHeads, kWidth}),
                       view(normalized.data(), {kTokens, kHeads, kWidth}));
          qkv.middleRows(i * kFeatures, kFeatures) = normalized;
        }
      }
    });
    return w_out * attend(qkv, weights);
  }

  // dh: the gradient that the stream has from what follows. Adds what comes through this block.
  void backward(const Matrix& dout, Matrix& dh, bool fused) {
    Matrix d = attend_backward(qkv, weights, w_out.transpose() * dout);
    timed([&] {
      for (Index i = 0; i < 2; ++i) {
        auto& head_norm = i == 0 ? query : key;
        if (fused) {
          head_norm.backward(part(raw, i), part(d, i), part(d, i));
        } else {
          const Matrix dense = raw.middleRows(i * kFeatures, kFeatures);
          Matrix gradient = d.middleRows(i * kFeatures, kFeatures);
          const auto in_place = view(gradient.data(), {kTokens, kHeads, kWidth});
          head_norm.backward(view(dense.data(), {kTokens, kHeads, kWidth}), in_place, in_place);
          d.middleRows(i * kFeatures, kFeatures) = gradient;
        }
      }
    });
    dy.noalias() = w_qkv.transpose() * d;
    timed([&] {
      if (fused) return norm.backward(h, dy, add_to(dh));
      Matrix dx;
      norm.backward(h, dy, dx);
      dh += dx;
    });
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int times = argc > 2 && std::string(argv[1]) == "--times" ? std::max(std::atoi(argv[2]), 1) : 15;
  const Matrix x = Matrix::Random(kFeatures, kTokens), r = Matrix::Random(kFeatures, kTokens);
  const Matrix dout = Matrix::Random(kFeatures, kTokens);
  Block blocks[2];
  blocks[1].w_qkv = blocks[0].w_qkv;
  blocks[1].w_out = blocks[0].w_out;
  Matrix out[2], dh[2];
  std::vector<double> seconds[2];
  for (int i = 0; i < times; ++i) {
    for (const int fused : {0, 1}) {
      blocks[fused].seconds = 0;
      out[fused] = blocks[fused].forward(x, r, fused == 1);
      dh[fused] = Matrix::Ones(kFeatures, kTokens);
      blocks[fused].backward(dout, dh[fused], fused == 1);
      seconds[fused].push_back(blocks[fused].seconds);
    }
  }
  const bool same = out[0] == out[1] && dh[0] == dh[1] && blocks[0].h == blocks[1].h;
  // Sums over rows with gaps are added in an order of their own.
  const float apart = (blocks[0].query.dgamma() - blocks[1].query.dgamma()).abs().maxCoeff();
  std::printf("%ld tokens, %ld heads of %ld; normalizations and residual sums of one block, median of %d\n",
              long(kTokens), long(kHeads), long(kWidth), times);
  for (auto& s : seconds) std::nth_element(s.begin(), s.begin() + times / 2, s.end());
  const double separate = seconds[0][std::size_t(times / 2)], fused = seconds[1][std::size_t(times / 2)];
  std::printf(
      "separate calls  %7.3f ms\nfused calls     %7.3f ms, %.2f of that\nsame bits       %s; gradient of gamma within "
      "%.0e\n",
      1e3 * separate, 1e3 * fused, fused / separate, same ? "yes" : "NO", double(apart));
  return same && apart < 1e-5F ? 0 : 1;
}
