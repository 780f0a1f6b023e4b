// A data set of 2^31 values that arrives in pieces of 64 MB: its moments and its standardization, beside sums of x and
// x^2. The values are known, so that every error is.

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

namespace {

using tensornorm::Index;
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;  // samples x features

constexpr Index kFeatures = 64, kRows = Index{1} << 18;  // of a piece: 64 MB
constexpr Index kPieces = 128, kLevels = 1024;
constexpr double kOffset = 1 << 20, kStep = 0.125;

// Every feature takes each of the values kOffset + kStep * (0 to 1023) equally often: their mean and variance.
const double kMean = kOffset + kStep * (kLevels - 1) / 2;
const double kVar = kStep * kStep * (double(kLevels) * kLevels - 1) / 12;

void fill(Index piece, Matrix& x) {
  for (Index r = 0; r < kRows; ++r) {
    const auto row = static_cast<std::uint32_t>(piece * kRows + r);
    for (Index c = 0; c < kFeatures; ++c) {
      const auto level = (row * (2 * static_cast<std::uint32_t>(c) * 2654435769U + 1) + 17 * c) % kLevels;
      x(r, c) = static_cast<float>(kOffset + kStep * static_cast<double>(level));
    }
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void print(const char* name, const Eigen::ArrayXd& mean, const Eigen::ArrayXd& var) {
  std::printf("%-28s %12.1e %14.1e\n", name, ((mean - kMean) / std::sqrt(kVar)).abs().maxCoeff(),
              ((var - kVar) / kVar).abs().maxCoeff());
}

}  // namespace

int main(int count, char** arguments) {
  const bool is_quick = count > 1 && std::strcmp(arguments[1], "--quick") == 0;
  const Index pieces = is_quick ? 4 : kPieces;
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  Eigen::ThreadPool pool(std::max(1, cores - 1));
  const Eigen::ThreadPoolDevice device(&pool, cores);

  tensornorm::Standardizer<float> standardizer;
  Matrix x(kRows, kFeatures), y;
  Eigen::ArrayXd sum = Eigen::ArrayXd::Zero(kFeatures), squares = sum;
  Eigen::ArrayXf float_sum = Eigen::ArrayXf::Zero(kFeatures), float_squares = float_sum;
  double seconds = 0;
  for (Index piece = 0; piece < pieces; ++piece) {
    fill(piece, x);
    const auto start = std::chrono::steady_clock::now();
    standardizer.partial_fit(device, x);
    seconds += seconds_since(start);
    for (Index r = 0; r < kRows; ++r) {
      const auto row = x.row(r).transpose().array();
      sum += row.cast<double>();
      squares += row.cast<double>().square();
      float_sum += row;
      float_squares += row.square();
    }
    if (piece % 16 == 15) std::printf("%td of %td pieces\n", piece + 1, pieces), std::fflush(stdout);
  }

  const double n = static_cast<double>(standardizer.moments().n);
  std::printf("\n%.0f values in %td pieces of %td MB: partial_fit took %.2f s, %.1f GB/s on %d cores\n\n",
              n * kFeatures, pieces, kRows * kFeatures * 4 >> 20, seconds, 4e-9 * n * kFeatures / seconds, cores);
  std::printf("%-28s %12s %14s\n", "largest error", "mean / std", "variance");
  print("Standardizer", standardizer.moments().mean + standardizer.moments().lo, standardizer.moments().var());
  const Eigen::ArrayXd mean = sum / n, float_mean = float_sum.cast<double>() / n;
  print("sums of x and x^2, double", mean, squares / n - mean.square());
  print("sums of x and x^2, float", float_mean, float_squares.cast<double>() / n - float_mean.square());

  standardizer.transform(device, x, y);
  const tensornorm::Moments of_y = tensornorm::moments(device, y, {0});
  const double off = std::max(of_y.mean.abs().maxCoeff(), (of_y.var() - 1).abs().maxCoeff());
  std::printf("\ny of the last piece: mean 0 and variance 1 within %.1e\n", off);
  standardizer.inverse(device, y, y);
  std::printf("inverse gives x within %.1e of itself\n", double(((y - x).array() / x.array()).abs().maxCoeff()));
  return off < 1e-6 ? EXIT_SUCCESS : EXIT_FAILURE;
}
