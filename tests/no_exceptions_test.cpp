// Compiled with -fno-exceptions: an error reaches the program's handler, and without one ends it with a message.
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

namespace {

std::jmp_buf before;
char last_message[200];

void jump_back(const char* message) {
  std::snprintf(last_message, sizeof last_message, "%s", message);
  std::longjmp(before, 1);
}

/// The message of the error that call() ends with; empty when it returns.
template <class Call>
std::string error_of(const Call& call) {
  last_message[0] = 0;
  if (setjmp(before) == 0) call();
  return last_message;
}

void expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("wrong: %s (%s)\n", what, last_message);
  std::exit(1);
}

extern "C" void end_well(int) { std::_Exit(0); }

}  // namespace

int main() {
  const tensornorm::ErrorHandler first = tensornorm::set_error_handler(jump_back);
  Eigen::ThreadPool pool(1);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(600, 400);
  Eigen::MatrixXf y;
  tensornorm::BatchNorm<float> norm(400), narrow(9);
  expect(error_of([&] { norm.forward(device, x, y); }).empty(), "no error");
  expect((y.colwise().mean().array().abs() < 1e-5f).all(), "columns have mean 0");
  expect(error_of([&] { narrow.forward(x, y); }) ==
             "tensornorm: x of extents (600, 400) has 400 channels along axis 1 but the layer has 9",
         "the message of misuse");
  Eigen::VectorXf gradient = Eigen::VectorXf::Constant(3, std::numeric_limits<float>::infinity());
  expect(error_of([&] { tensornorm::clip_grad_norm(1, gradient); }) ==
             "tensornorm: the norm of the gradients is infinite: they are not scaled",
         "the message of an infinite norm");

  // The first handler writes and returns: the program ends by abort().
  expect(tensornorm::set_error_handler(first) == jump_back, "the handler before");
  expect(tensornorm::set_error_handler(nullptr) == first, "null sets nothing");
  std::signal(SIGABRT, end_well);
  narrow.forward(x, y);
  return 1;
}
