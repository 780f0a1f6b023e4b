// The library compiles among the macros of other headers: those of windows.h, of macOS's AssertMacros.h, of complex.h,
// and what programs call their own. Standard and Eigen's headers come first, as they make no such promise.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <Eigen/Eigenvalues>
#include <unsupported/Eigen/CXX11/Tensor>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define check(x) ((void)(x))
#define verify(x) ((void)(x))
#define require(x) ((void)(x))
#define assume(x) ((void)(x))
#define near
#define far
#define small char
#define interface struct
#define pascal
#define cdecl
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define IN
#define OUT
#define OPTIONAL
#define ERROR 0
#define TRUE 1
#define FALSE 0
#define I 1
#define E 2.718281828
#define PI 3.141592654
#include <tensornorm/tensornorm.hpp>

int main() {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(16, 8), y;
  tensornorm::BatchNorm<float> norm(8);
  norm.forward(x, y);
  norm.backward(x, y, y);
  return y.rows() != 16;
}
