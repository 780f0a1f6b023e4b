// The functions of tensornorm/functional.hpp as a contender, on views of the operands' memory: every order of memory is
// a batch of channels of places, with strides. Float only.
#define EIGEN_USE_THREADS
#include <vector>
#include <tensornorm/functional.hpp>
#include <tensornorm/tensornorm.hpp>

#include "contender.hpp"
#include "pool.hpp"

namespace bench {

namespace {

template <class Device>
class Functions : public Contender {
 public:
  Functions(const Cell& cell, const Device& device, const Operands& o)
      : cell_(cell), device_(device), o_(o), dgamma_(static_cast<std::size_t>(cell.c)), dbeta_(dgamma_.size()),
        mean_(static_cast<const float*>(o.running_mean), static_cast<const float*>(o.running_mean) + cell.c),
        var_(static_cast<const float*>(o.running_var), static_cast<const float*>(o.running_var) + cell.c) {
    if (cell.pass == Pass::kBackward) forward();
  }

  void run() override {
    if (cell_.pass == Pass::kBackward) return backward();
    if (cell_.pass == Pass::kTrain) return forward();
    if (cell_.layer != Layer::kBatch) return forward();
    tensornorm::batch_norm_infer(device_, x(), gamma(), beta(), of_channels(mean_.data()), of_channels(var_.data()),
                                 kEps, y());
  }
  const void* result() const override { return o_.y; }
  Parameters parameters() const override {
    Parameters p;
    if (cell_.pass == Pass::kBackward) p.dgamma = dgamma_.data();
    if (cell_.pass == Pass::kBackward && cell_.layer != Layer::kRms) p.dbeta = dbeta_.data();
    if (cell_.layer == Layer::kBatch) p.running_mean = mean_.data();
    if (cell_.layer == Layer::kBatch) p.running_var = var_.data();
    return p;
  }

 private:
  void forward() {
    switch (cell_.layer) {
      case Layer::kBatch:
        return tensornorm::batch_norm(device_, x(), gamma(), beta(), of_channels(mean_.data()),
                                      of_channels(var_.data()), kMomentum, kEps, y(), pass_);
      case Layer::kInstance:
        return tensornorm::instance_norm(device_, x(), gamma(), beta(), kEps, y(), pass_);
      case Layer::kGroup:
        return tensornorm::group_norm(device_, x(), cell_.groups, gamma(), beta(), kEps, y(), pass_);
      case Layer::kLayer:
        return tensornorm::layer_norm(device_, x(), gamma(), beta(), kEps, y(), pass_);
      case Layer::kRms:
        return tensornorm::rms_norm(device_, x(), gamma(), kEps, y(), pass_);
    }
  }
  // Every function has the same backward: the pass knows the statistics.
  void backward() {
    const auto dgamma = of_channels(dgamma_.data());
    if (cell_.layer == Layer::kRms)
      return tensornorm::rms_norm_backward(device_, x(), dy(), gamma(), pass_, y(), dgamma);
    tensornorm::layer_norm_backward(device_, x(), dy(), gamma(), pass_, y(), dgamma, of_channels(dbeta_.data()));
  }

  template <class T>
  auto of_x(T* data) const {
    return cell_.is_image() ? tensornorm::view(data, {cell_.n, cell_.c, cell_.space()},
                                               {cell_.n_stride(), cell_.c_stride(), cell_.s_stride()})
                            : tensornorm::view(data, {cell_.n, cell_.c}, {cell_.n_stride(), cell_.c_stride()});
  }
  auto x() const { return of_x(static_cast<const float*>(o_.x)); }
  auto dy() const { return of_x(static_cast<const float*>(o_.dy)); }
  auto y() const { return of_x(static_cast<float*>(o_.y)); }
  template <class T>
  auto of_channels(T* data) const {
    return tensornorm::view(data, {cell_.c});
  }
  auto gamma() const { return of_channels(static_cast<const float*>(o_.gamma)); }
  auto beta() const { return of_channels(static_cast<const float*>(o_.beta)); }

  Cell cell_;
  const Device& device_;
  Operands o_;
  std::vector<float> dgamma_, dbeta_, mean_, var_;
  tensornorm::Pass<float> pass_;
};

}  // namespace

ContenderPtr make_functions(const Cell& cell, const Operands& o) {
  if (cell.scalar != Scalar::kFloat) return nullptr;
  if (cell.threads == 1) {
    static const Eigen::DefaultDevice device;
    return std::make_unique<Functions<Eigen::DefaultDevice>>(cell, device, o);
  }
  return std::make_unique<Functions<Eigen::ThreadPoolDevice>>(cell, pool_device(cell.threads), o);
}

}  // namespace bench
