// libFuzzer's target: arbitrary bytes become a layer, a tensor and calls. Whatever they are, the only exceptions are
// those promised, a call that throws changes nothing, nothing outside of an output is written, inputs stay, every
// device and every way to call gives the same bits, and tame numbers give what the oracle gives.
#define EIGEN_USE_THREADS

#include <sanitizer/asan_interface.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>

#include "../every_layer.hpp"

// Memory beyond any that a call may need is refused and not a crash.
extern "C" const char* __asan_default_options() {  // NOLINT(bugprone-reserved-identifier)
  return "allocator_may_return_null=1:max_allocation_size_mb=64";
}

namespace tensornorm_test {
namespace {

using namespace tensornorm;

constexpr double kInf = std::numeric_limits<double>::infinity(), kNaN = std::numeric_limits<double>::quiet_NaN();

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

/// Whether the action threw something that it may.
bool throws(core::FunctionRef<void()> action) {
  try {
    action();
  } catch (const std::invalid_argument&) {
    return true;
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const std::length_error&) {
    return true;
  }
  return false;
}

/// The fuzzer's bytes; zeros when they are used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  bool empty() const { return left_ == 0; }
  int next() { return empty() ? 0 : (--left_, *data_++); }
  int below(int n) { return next() % n; }
  bool flag() { return below(2) == 1; }
  template <class T, std::size_t n>
  T one_of(const T (&values)[n]) {
    return values[below(int(n))];
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

/// Memory between guards that the address sanitizer forbids; where it sees only whole words, or does not look, their
/// bits tell.
template <class Scalar>
class Buffer {
 public:
  Buffer(Index size, Index misalign)
      : size_(size), begin_(kGuard + std::size_t(misalign) * sizeof(Scalar)), bytes_(end() + kGuard, 0xff) {
    close();
  }
  Buffer(const Buffer& other) : Buffer(other.size_, 0) { std::copy_n(other.data(), size_, data()); }
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { open(); }

  Scalar* data() { return reinterpret_cast<Scalar*>(bytes_.data() + begin_); }
  const Scalar* data() const { return reinterpret_cast<const Scalar*>(bytes_.data() + begin_); }
  Index size() const { return size_; }

  bool guards_intact() {
    open();
    bool intact = true;
    for (std::size_t i = 0; i < begin_; ++i) intact = intact && bytes_[i] == 0xff;
    for (std::size_t i = end(); i < bytes_.size(); ++i) intact = intact && bytes_[i] == 0xff;
    close();
    return intact;
  }

 private:
  static constexpr std::size_t kGuard = 128;

  std::size_t end() const { return begin_ + std::size_t(size_) * sizeof(Scalar); }
  void open() { ASAN_UNPOISON_MEMORY_REGION(bytes_.data(), bytes_.size()); }
  void close() {
    ASAN_POISON_MEMORY_REGION(bytes_.data(), begin_);
    ASAN_POISON_MEMORY_REGION(bytes_.data() + end(), bytes_.size() - end());
    ASAN_UNPOISON_MEMORY_REGION(data(), end() - begin_);
  }

  Index size_;
  std::size_t begin_;
  std::vector<unsigned char> bytes_;
};

constexpr Index kMost = std::numeric_limits<Index>::max();
constexpr Index kHuge[] = {kMost, kMost / 2 + 1, Index{1} << 61, Index{1} << 33,    Index{1} << 32, Index{1} << 31,
                           -1,    Index{-4},     -kMost - 1,     Index{65537} << 20};
constexpr double kNumbers[] = {0, 1, -1, 1e-5, 1e-3, 0.1, 2, 1e-310, 1e-40, 1e30, 1e300, -1e-9, kInf, -kInf, kNaN};

/// Extents of at most a few thousand elements.
Extents small_extents(Bytes& in, int rank) {
  Extents extents;
  const bool is_long = in.below(4) == 0;
  for (int d = 0; d < rank; ++d) extents.push_back(in.below(10));
  if (is_long) extents[std::size_t(in.below(rank))] = in.below(200) * 3;
  for (Index& e : extents) {
    while (e > 1 && count(extents) > 6000) e = (e + 1) / 2;
  }
  return extents;
}

/// Extents that no memory has: their number of elements is huge, overflows or makes no sense.
Extents huge_extents(Bytes& in, int rank) {
  Extents extents;
  for (int d = 0; d < rank; ++d) extents.push_back(in.flag() ? in.one_of(kHuge) : 1 + in.below(9));
  extents[std::size_t(in.below(rank))] = in.one_of(kHuge);
  return extents;
}

/// Whether some extent is negative or the others' product is no Index.
bool is_impossible(const Extents& extents) {
  long double n = 1;
  for (const Index e : extents) {
    if (e < 0) return true;
    n *= (long double)(e == 0 ? 1 : e);
  }
  return n > (long double)kMost;
}

template <class Scalar>
constexpr double kTolerance = sizeof(Scalar) > 2                    ? 1e-3
                              : std::is_same_v<Scalar, Eigen::half> ? 4e-3
                                                                    : 3e-2;

/// Values beyond a half's range are of no interest, and NaN is as good as another.
template <class Scalar>
void require_near(double got, Real want, Real scale, const char* what) {
  if (std::is_same_v<Scalar, Eigen::half> && std::abs(want) > 6e4) return;
  if (got == want || (std::isnan(got) && std::isnan(want))) return;
  if (std::abs(got - want) <= kTolerance<Scalar> * scale) return;
  std::fprintf(stderr, "broken: %s: %.9g and not %.9Lg\n", what, got, want);
  std::abort();
}

/// The only rank.
struct Alone {
  int size() const { return 1; }
  void all_gather(const double* mine, Index n, double* all) const { std::copy_n(mine, n, all); }
};
template <class Layer>
inline constexpr bool spans_ranks = false;
template <class Scalar>
inline constexpr bool spans_ranks<SyncBatchNorm<Scalar, Alone>> = true;

/// What the oracle knows of a layer.
struct Rule {
  Sets sets, frozen_sets;
  Centred centred = Centred::kYes;
  double eps = 0;
  bool is_known = false;
};

// ---- calls of one layer on tensors of one type

template <class Scalar, int Rank, int Layout>
class Session {
 public:
  explicit Session(Bytes& in)
      : in_(in), extents_(small_extents(in, Rank)), x_(count(extents_), in.below(3)), dy_(count(extents_), in.below(3)),
        y_(count(extents_), in.below(3)), dx_(count(extents_), in.below(3)) {
    fill();
  }

  void run() {
    const Index axis = in_.below(4) == 0 ? in_.below(14) - 7 : Rank > 1 ? 1 : 0;
    const Index at = axis < 0 ? axis + Rank : axis;
    const bool has_axis = at >= 0 && at < Rank;
    channels_ = in_.below(16) == 0 ? in_.one_of(kHuge) : has_axis ? extents_[std::size_t(at)] : 3;
    const double eps = in_.below(4) == 0 ? in_.one_of(kNumbers) : 1e-5;
    std::optional<double> momentum = in_.below(4) == 0 ? in_.one_of(kNumbers) : 0.1;
    if (in_.below(8) == 0) momentum = std::nullopt;
    const Rule rule = {{}, {}, Centred::kYes, eps, eps == 1e-5 || eps == 1e-3};
    switch (in_.below(8)) {
      case 0:
        return batch_norm(rule, axis, at, momentum);
      case 1:
        return instance_norm(rule, axis, at, momentum);
      case 2:
        return group_norm(rule, axis, at);
      case 3:
        return layer_norm(rule);
      case 4:
        return rms_norm(rule);
      case 5:
        return whitening(rule, axis, momentum);
      case 6:
        return standardize();
      default:
        return clip();
    }
  }

 private:
  using Tensor = Eigen::Tensor<Scalar, Rank, Layout>;
  using Map = Eigen::TensorMap<Tensor>;

  // ---- tensors

  static Map map(Scalar* data, const Extents& extents) {
    Eigen::DSizes<Index, Rank> dimensions;
    for (std::size_t d = 0; d < std::size_t(Rank); ++d) dimensions[d] = extents[d];
    return Map(data, dimensions);
  }
  Map map(Buffer<Scalar>& buffer) const { return map(buffer.data(), extents_); }
  static std::string bits(const Buffer<Scalar>& b) { return bytes(b.data(), b.size()); }

  Values values(const Buffer<Scalar>& buffer) const {
    Values result;
    for (const Index i : storage_positions(extents_, Layout)) result.push_back(to_double(buffer.data()[i]));
    return result;
  }

  void fill() {
    const int kind = in_.below(8);
    const double scale = kind < 5 ? 1 : in_.one_of(kNumbers), offset = kind == 4 ? 100 : kind == 7 ? 1e6 : 0;
    tame_x_ = kind < 5;
    std::mt19937 engine(unsigned(in_.next()));
    const auto draw = [&] { return (double(engine() % 4096) - 2048) / 1024; };
    for (Index i = 0; i < x_.size(); ++i) {
      x_.data()[i] = from_double<Scalar>(draw() * scale + offset);
      dy_.data()[i] = from_double<Scalar>(draw());
    }
    if (kind == 6 && x_.size() > 0) {
      x_.data()[engine() % unsigned(x_.size())] = from_double<Scalar>(in_.one_of(kNumbers));
      dy_.data()[engine() % unsigned(x_.size())] = from_double<Scalar>(in_.one_of(kNumbers));
    }
    inputs_ = bits(x_) + bits(dy_);
    statistics_.reset();
  }

  // ---- layers

  void batch_norm(Rule rule, Index axis, Index at, std::optional<double> momentum) {
    BatchNormOptions o;
    o.eps = rule.eps, o.momentum = momentum, o.channel_axis = axis;
    o.affine = in_.below(4) != 0, o.track_running_stats = in_.below(4) != 0, o.unbiased_running_var = in_.flag();
    if (at >= 0 && at < Rank) rule.sets = rule.frozen_sets = batch_sets(extents_, int(at));
    if (in_.below(4) == 0) return make<SyncBatchNorm<Scalar, Alone>>(rule, channels_, Alone(), o);
    make<BatchNorm<Scalar>>(rule, channels_, o);
  }
  void instance_norm(Rule rule, Index axis, Index at, std::optional<double> momentum) {
    InstanceNormOptions o;
    o.eps = rule.eps, o.momentum = momentum, o.channel_axis = axis;
    o.affine = in_.flag(), o.track_running_stats = in_.flag(), o.unbiased_running_var = in_.flag();
    if (at > 0 && at < Rank && extents_[std::size_t(at)] > 0) {
      rule.sets = instance_sets(extents_, int(at));
      rule.frozen_sets = batch_sets(extents_, int(at));
    }
    make<InstanceNorm<Scalar>>(rule, channels_, o);
  }
  void group_norm(Rule rule, Index axis, Index at) {
    GroupNormOptions o;
    o.eps = rule.eps, o.channel_axis = axis;
    o.affine = in_.below(4) != 0;
    const Index groups = in_.below(8) == 0 ? in_.one_of(kHuge) : in_.below(6);
    const bool fits = at > 0 && at < Rank && channels_ > 0 && extents_[std::size_t(at)] == channels_;
    if (fits && groups > 0 && channels_ % groups == 0) {
      rule.sets = group_sets(extents_, int(at), groups);
    }
    make<GroupNorm<Scalar>>(rule, groups, channels_, o);
  }
  Extents trailing(Rule& rule) {
    const int n = in_.below(Rank + 1);
    Extents result(extents_.end() - n, extents_.end());
    if (count(result) > 0) rule.sets = row_sets(extents_, n);
    if (in_.below(8) == 0) result.push_back(in_.one_of(kHuge));
    return result;
  }
  void layer_norm(Rule rule) {
    LayerNormOptions o;
    o.eps = rule.eps, o.affine = in_.below(4) != 0, o.bias = in_.below(4) != 0;
    const Extents over = trailing(rule);
    make<LayerNorm<Scalar>>(rule, over, o);
  }
  void rms_norm(Rule rule) {
    RMSNormOptions o;
    o.eps = rule.eps, o.affine = in_.below(4) != 0;
    rule.centred = Centred::kNo;
    const Extents over = trailing(rule);
    make<RMSNorm<Scalar>>(rule, over, o);
  }
  void whitening(const Rule& rule, Index axis, std::optional<double> momentum) {
    constexpr WhiteningMethod kMethods[] = {WhiteningMethod::kZca, WhiteningMethod::kNewton, WhiteningMethod::kPca,
                                            WhiteningMethod::kCholesky};
    WhiteningOptions o;
    o.eps = rule.eps, o.momentum = momentum, o.channel_axis = axis, o.affine = in_.flag();
    o.method = in_.one_of(kMethods);
    o.groups = in_.below(8) == 0 ? in_.one_of(kHuge) : in_.below(4);
    o.iterations = in_.below(8);
    if (o.groups > 0 && channels_ / o.groups > 24 && channels_ < 1000) return;  // k^3 would take too long
    make<Whitening<Scalar>>(rule, channels_, o);
  }

  template <class Layer, class... Arguments>
  void make(const Rule& rule, const Arguments&... arguments) {
    std::optional<Layer> layer;
    if (throws([&] { layer.emplace(arguments...); })) return;
    if constexpr (!whitens<Layer>) stir(*layer);
    tame_layer_ = rule.is_known;
    for (int i = 0; i < 12 && !in_.empty(); ++i) step(*layer, rule);
  }

  // ---- calls

  /// A call that may throw, and if it does, changes nothing.
  template <class Layer>
  bool call(const Layer& layer, core::FunctionRef<void()> action) {
    const std::string before = state(layer) + bits(y_) + bits(dx_);
    const bool threw = throws(action);
    if (threw) require(state(layer) + bits(y_) + bits(dx_) == before, "a call that threw changed something");
    require(bits(x_) + bits(dy_) == inputs_, "a call changed its input");
    require(x_.guards_intact() && dy_.guards_intact() && y_.guards_intact() && dx_.guards_intact(),
            "a call wrote where it must not");
    return !threw;
  }

  static const Eigen::ThreadPoolDevice& device(bool with_helpers) {
    static Eigen::ThreadPool pool(2);
    static const Eigen::ThreadPoolDevice alone(&pool, 1), together(&pool, 3);
    return with_helpers ? together : alone;
  }

  template <class Layer>
  void step(Layer& layer, const Rule& rule) {
    const int which = in_.below(21);
    const Eigen::ThreadPoolDevice& on = device(in_.flag());
    switch (which) {
      case 0:
      case 1:
        return forward(layer, rule, on);
      case 2:
      case 3:
        return backward(layer, rule, on);
      case 4:
        return infer(layer);
      case 5:
        return layer.train();
      case 6:
        return layer.eval();
      case 7:
        return forward_in_place(layer, on);
      case 8:
        return backward_in_place(layer, on);
      case 9:
        return overlap(layer, on);
      case 10:
        return other_extents(layer, on);
      case 11:
        return no_such_memory(layer, on);
      case 12:
        return change_parameters(layer);
      case 13:
        return change_running(layer);
      case 14:
        return copy(layer);
      case 15:
        return with_pass(layer, on);
      case 16:
        return sum(layer, on);
      case 17:
        return strided(layer, on);
      case 18:
        return added(layer, on);
      case 19:
        return post_op(layer, on);
      default:
        return fill();
    }
  }

  template <class Layer>
  static bool is_frozen(const Layer& layer) {
    if constexpr (has_running<Layer>) return !layer.training() && layer.running_mean().size() > 0;
    return false;
  }

  template <class Layer>
  void forward(Layer& layer, const Rule& rule, const Eigen::ThreadPoolDevice& on) {
    const Layer before = layer;
    if (!call(layer, [&] { layer.forward(on, map(x_), map(y_)); })) return;
    statistics_.reset();
    Layer again = before;
    Tensor owned;
    require(
        !throws([&] { owned = again(on, map(x_)); }) && bytes(owned) == bytes(map(y_)) && state(again) == state(layer),
        "the same forward gave something else");
    if (!tame_x_ || !tame_layer_) return;
    const Values y = values(y_);
    if constexpr (whitens<Layer>) {
      for (const double v : y) require(std::isfinite(v) || !layer.training(), "y is not finite");
    } else {
      frozen_ = is_frozen(layer);
      const Sets& sets = frozen_ ? rule.frozen_sets : rule.sets;
      if constexpr (has_running<Layer>) {
        if (frozen_) {
          statistics_ = frozen_statistics(values_of(layer.running_mean()), values_of(layer.running_var()), rule.eps);
        }
      }
      if (!frozen_) statistics_ = oracle_statistics(values(x_), sets, rule.eps, rule.centred);
      Values beta;
      if constexpr (has_beta<Layer>) beta = values_of(layer.beta());
      const Reals want = oracle_forward(values(x_), sets, *statistics_, values_of(layer.gamma()), beta).y;
      for (std::size_t i = 0; i < y.size(); ++i) {
        require_near<Scalar>(y[i], want[i], 1 + std::abs(want[i]), "y is not the oracle's");
      }
    }
  }

  template <class Layer>
  void backward(Layer& layer, const Rule& rule, const Eigen::ThreadPoolDevice& on) {
    if (!call(layer, [&] { layer.backward(on, map(x_), map(dy_), map(dx_)); })) return;
    if constexpr (!whitens<Layer>) {
      if (!tame_x_ || !tame_layer_ || !statistics_) return;
      const Values dx = values(dx_), gamma = values_of(layer.gamma());
      const Reals want = oracle_backward(values(x_), values(dy_), frozen_ ? rule.frozen_sets : rule.sets, *statistics_,
                                         gamma, rule.centred, frozen_)
                             .dx;
      Real largest = 1;
      for (const Real rstd : statistics_->rstd) largest = std::max(largest, 8 * rstd);  // |dy| <= 2, |gamma| <= 2
      for (std::size_t i = 0; i < dx.size(); ++i) {
        require_near<Scalar>(dx[i], want[i], largest, "dx is not the oracle's");
      }
    }
  }

  template <class Layer>
  void infer(const Layer& layer) {
    if (!call(layer, [&] { layer.infer(device(true), map(x_), map(y_)); })) return;
    Buffer<Scalar> alone(x_.size(), 1);
    require(!throws([&] { layer.infer(device(false), map(x_), map(alone)); }) && bits(alone) == bits(y_),
            "helpers changed the bits of infer");
  }

  template <class Layer>
  void forward_in_place(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    Buffer<Scalar> both(x_);
    Layer other = layer;
    const bool done = call(layer, [&] { layer.forward(on, map(both), map(both)); });
    require(both.guards_intact(), "forward in place wrote where it must not");
    if (!done) return require(bits(both) == bits(x_), "forward in place threw and changed x");
    other.forward(device(false), map(x_), map(y_));
    require(bits(both) == bits(y_), "forward in place gave something else");
    statistics_.reset();
  }

  template <class Layer>
  void backward_in_place(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    const bool over_x = in_.flag();
    Buffer<Scalar> both(over_x ? x_ : dy_);
    Layer other = layer;
    const bool done = call(layer, [&] {
      over_x ? layer.backward(on, map(both), map(dy_), map(both)) : layer.backward(on, map(x_), map(both), map(both));
    });
    require(both.guards_intact(), "backward in place wrote where it must not");
    if (!done) return require(bits(both) == bits(over_x ? x_ : dy_), "backward in place threw and changed its input");
    other.backward(device(false), map(x_), map(dy_), map(dx_));
    require(bits(both) == bits(dx_) && state(other) == state(layer), "backward in place gave something else");
  }

  template <class Layer>
  void overlap(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    const Index n = x_.size();
    if (n < 2) return;
    const Index shift = 1 + in_.next() % (n - 1);
    Buffer<Scalar> buffer(n + shift, 0);
    std::fill_n(buffer.data(), n + shift, Scalar(1));
    const std::string before = bits(buffer);
    const bool is_first = in_.flag();
    const Map in = map(buffer.data() + (is_first ? 0 : shift), extents_);
    Map out = map(buffer.data() + (is_first ? shift : 0), extents_);
    require(!call(layer, [&] { layer.forward(on, in, out); }), "forward took y that overlaps x");
    require(!call(layer, [&] { layer.infer(on, in, out); }), "infer took y that overlaps x");
    require(!call(layer, [&] { layer.backward(on, in, map(dy_), out); }), "backward took dx that overlaps x");
    require(!call(layer, [&] { layer.backward(on, map(x_), in, out); }), "backward took dx that overlaps dy");
    require(bits(buffer) == before, "a refused call wrote");
  }

  template <class Layer>
  void other_extents(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    const Extents other = small_extents(in_, Rank);
    if (other == extents_) return;
    Buffer<Scalar> memory(count(other), 0);
    const Map tensor = map(memory.data(), other);
    require(!call(layer, [&] { layer.forward(on, map(x_), map(memory.data(), other)); }), "forward took another y");
    require(!call(layer, [&] { layer.infer(on, map(x_), map(memory.data(), other)); }), "infer took another y");
    require(!call(layer, [&] { layer.backward(on, map(x_), tensor, map(dx_)); }), "backward took another dy");
    require(!call(layer, [&] { layer.backward(on, map(x_), map(dy_), map(memory.data(), other)); }),
            "backward took another dx");
    std::fill_n(memory.data(), memory.size(), Scalar(1));
    Tensor y;
    Layer apart = layer;  // which may take these
    if (!throws([&] { apart.forward(on, tensor, y); }))
      require(y.dimensions() == tensor.dimensions(), "y is too small");
    throws([&] { apart.backward(on, tensor, tensor, y); });
    require(memory.guards_intact(), "a call on other extents wrote where it must not");
  }

  // Nothing of these tensors can be read.
  template <class Layer>
  void no_such_memory(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    const Extents huge = huge_extents(in_, Rank);
    if (huge == extents_) return;
    Buffer<Scalar> nothing(0, 0), nowhere(0, 0);
    const Map tensor = map(nothing.data(), huge);
    require(!call(layer, [&] { layer.forward(on, map(x_), map(nothing.data(), huge)); }), "forward took a huge y");
    require(!call(layer, [&] { layer.forward(on, tensor, map(y_)); }), "forward took a huge x");
    require(!call(layer, [&] { layer.infer(on, tensor, map(y_)); }), "infer took a huge x");
    require(!call(layer, [&] { layer.backward(on, tensor, map(dy_), map(dx_)); }), "backward took a huge x");
    require(!call(layer, [&] { layer.backward(on, map(x_), tensor, map(dx_)); }), "backward took a huge dy");
    if (!is_impossible(huge)) return;
    require(!call(layer, [&] { layer.forward(on, tensor, map(nowhere.data(), huge)); }), "an impossible x and y");
    require(!call(layer, [&] { layer.infer(on, tensor, map(nowhere.data(), huge)); }), "an impossible x and y");
    require(!call(layer, [&] { static_cast<void>(layer(on, tensor)); }), "an impossible x");
  }

  template <class Layer>
  void change_parameters(Layer& layer) {
    auto& gamma = layer.gamma();
    const Index size = gamma.size();
    const auto good = gamma;
    if (in_.flag()) {
      gamma.setOnes(size + (in_.flag() || size == 0 ? 1 : -1));
      require(!call(layer, [&] { layer.forward(device(false), map(x_), map(y_)); }), "a gamma of the wrong size");
      require(!call(layer, [&] { layer.infer(device(false), map(x_), map(y_)); }), "a gamma of the wrong size");
      require(!call(layer, [&] { layer.backward(device(false), map(x_), map(dy_), map(dx_)); }),
              "a gamma of the wrong size");
      gamma = good;
      return;
    }
    gamma.setConstant(typename Layer::Param(in_.one_of(kNumbers)));
    tame_layer_ = false;
  }

  template <class Layer>
  void change_running(Layer& layer) {
    if constexpr (has_running<Layer> && !whitens<Layer>) {
      layer.running_mean().setConstant(typename Layer::Param(in_.one_of(kNumbers)));
      layer.running_var().setConstant(typename Layer::Param(in_.one_of(kNumbers)));
      tame_layer_ = false;
    }
    if constexpr (whitens<Layer>) {
      const bool fitted = call(layer, [&] { layer.fit(device(true), map(x_)); });
      if (fitted) require(call(layer, [&] { layer.inverse(device(true), map(x_), map(y_)); }), "no inverse after fit");
      tame_layer_ = false;
    }
  }

  template <class Layer>
  void copy(Layer& layer) {
    const std::string before = state(layer);
    Layer other(layer);
    layer = other;
    require(state(other) == before && state(layer) == before, "a copy is something else");
    other = std::move(layer);
    require(state(other) == before, "a moved layer is something else");
    layer = std::move(other);
  }

  // ---- passes, sums, views and outputs that are added to

  /// A Pass in the place of the layer's own gives the same bits, and another forward in between changes nothing.
  template <class Layer>
  void with_pass(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    if constexpr (!whitens<Layer>) {
      Layer other = layer;
      Pass<Scalar> pass;
      const bool done = call(layer, [&] { layer.forward(on, map(x_), map(y_), pass); });
      Buffer<Scalar> y(x_.size(), 1), dx(x_.size(), 2);
      require(throws([&] { other.forward(on, map(x_), map(y)); }) != done, "a Pass changes what forward takes");
      if (!done) return;
      require(bits(y) == bits(y_), "a Pass changes y");
      if (in_.flag()) throws([&] { layer.forward(on, map(dy_), map(y)); });
      const bool gone_back = call(layer, [&] { layer.backward(on, map(x_), map(dy_), map(dx_), pass); });
      require(throws([&] { other.backward(on, map(x_), map(dy_), map(dx)); }) != gone_back,
              "a Pass changes what backward takes");
      require(!gone_back || bits(dx) == bits(dx_), "a Pass changes dx");
      statistics_.reset();
    }
  }

  /// h = x + dy, kept and normalized, is what forward and infer make of an h that was there.
  template <class Layer>
  void sum(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    if constexpr (!whitens<Layer> && !spans_ranks<Layer>) {
      Layer other = layer;
      const bool infers = in_.flag();
      Buffer<Scalar> kept(x_.size(), 1), h(x_.size(), 0), y(x_.size(), 2);
      std::fill_n(kept.data(), kept.size(), Scalar(0));
      for (Index i = 0; i < h.size(); ++i) {
        h.data()[i] = from_double<Scalar>(to_double(x_.data()[i]) + to_double(dy_.data()[i]));
      }
      const auto both = [&](Layer& norm, const auto& in, Map out) {
        infers ? norm.infer(on, in, out) : norm.forward(on, in, out);
      };
      Map to = map(kept);
      const bool done = call(layer, [&] { both(layer, add(map(x_), map(dy_), to), map(y_)); });
      require(kept.guards_intact(), "a sum was written where it must not");
      require(throws([&] { both(other, map(h), map(y)); }) != done, "a sum changes what a call takes");
      statistics_.reset();
      if (!done) return;
      for (Index i = 0; i < h.size(); ++i) {
        const double got = to_double(kept.data()[i]), want = to_double(h.data()[i]);
        require(got == want || (std::isnan(got) && std::isnan(want)), "h is not x + r");
      }
      bool has_nan = false;  // whose bits may differ
      for (const double v : values(y)) has_nan = has_nan || std::isnan(v);
      require(has_nan || bits(y) == bits(y_), "y is not that of h");
    }
  }

  /// Views with gaps, of x or of y, give what tensors without give; the gaps stay.
  template <class Layer>
  void strided(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    if constexpr (!whitens<Layer>) {
      const Index gap = 1 + in_.below(4), last = Layout == kRow ? Rank - 1 : 0;
      std::vector<Index> strides(std::size_t(Rank), 0);
      Index stride = 1;
      for (int i = 0; i < Rank; ++i) {
        const int d = Layout == kRow ? Rank - 1 - i : i;
        strides[std::size_t(d)] = stride;
        stride *= extents_[std::size_t(d)] + (d == last ? gap : 0);
      }
      const auto with_gaps = [&](Buffer<Scalar>& buffer) { return view(buffer.data(), extents_, strides); };
      const Index line = extents_[std::size_t(last)], lines = line == 0 ? 0 : x_.size() / line;
      Buffer<Scalar> x(stride, 1), y(stride, 0), dense(x_.size(), 0);
      std::fill_n(x.data(), x.size(), from_double<Scalar>(kNaN));
      std::fill_n(y.data(), y.size(), Scalar(7));
      for (Index i = 0; i < lines; ++i) std::copy_n(x_.data() + i * line, line, x.data() + i * (line + gap));
      Layer other = layer;
      const bool done = call(layer, [&] { layer.forward(on, with_gaps(x), with_gaps(y)); });
      require(throws([&] { other.forward(on, map(x_), map(dense)); }) != done, "gaps change what forward takes");
      require(x.guards_intact() && y.guards_intact(), "a view with gaps was written beyond");
      statistics_.reset();
      if (!done) return;
      for (Index i = 0; i < lines; ++i) {
        for (Index k = 0; k < gap && i + 1 < lines; ++k) {
          require(to_double(y.data()[i * (line + gap) + line + k]) == 7, "a gap was written");
        }
        for (Index k = 0; tame_x_ && tame_layer_ && k < line; ++k) {
          const double want = to_double(dense.data()[i * line + k]);
          require_near<Scalar>(to_double(y.data()[i * (line + gap) + k]), want, 1 + std::abs(want), "gaps change y");
        }
      }
    }
  }

  /// add_to(dx) is dx, added once rounded; no dx changes no gradient of a parameter.
  template <class Layer>
  void added(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    if constexpr (!whitens<Layer>) {
      Layer other = layer;
      Buffer<Scalar> sum(dy_), dx(x_.size(), 1);
      Map to = map(sum);
      const bool done = call(layer, [&] { layer.backward(on, map(x_), map(dy_), add_to(to)); });
      require(sum.guards_intact(), "a sum was written where it must not");
      require(throws([&] { other.backward(on, map(x_), map(dy_), map(dx)); }) != done, "add_to changes what is taken");
      if (!done) return require(bits(sum) == bits(dy_), "a refused call added");
      require(bytes(layer.dgamma()) == bytes(other.dgamma()), "add_to changes dgamma");
      for (Index i = 0; i < sum.size(); ++i) {
        const double got = to_double(sum.data()[i]);
        const double want = to_double(from_double<Scalar>(to_double(dy_.data()[i]) + to_double(dx.data()[i])));
        require(got == want || (std::isnan(got) && std::isnan(want)), "add_to gave something else");
      }
      other.backward(on, map(x_), map(dy_), kNone);
      require(bytes(layer.dgamma()) == bytes(other.dgamma()), "without dx dgamma is something else");
    }
  }

  /// A clip or a product gives what it gives of the plain y, and its gradient that of the plain dy.
  template <class Layer>
  void post_op(Layer& layer, const Eigen::ThreadPoolDevice& on) {
    if constexpr (!whitens<Layer> && !spans_ranks<Layer>) {
      constexpr bool rounds = sizeof(Scalar) == 2;  // y before the product, and at a bound
      Layer other = layer;
      const bool clips = in_.flag(), infers = in_.flag();
      const double low = in_.one_of(kNumbers), high = in_.one_of(kNumbers);
      Buffer<Scalar> y(x_.size(), 1), of_result(dy_), dx(x_.size(), 2), dz(x_.size(), 3);
      const auto both = [&](Layer& norm, auto out) {
        infers ? norm.infer(on, map(x_), out) : norm.forward(on, map(x_), out);
      };
      Map stored = map(y_);
      const bool done = call(layer, [&] {
        clips ? both(layer, then_clip(stored, low, high)) : both(layer, then_times(stored, map(dy_)));
      });
      const bool is_range = static_cast<ParamOf<Scalar>>(low) < static_cast<ParamOf<Scalar>>(high);
      const bool is_plain = !throws([&] { both(other, map(y)); });
      require(is_plain == done || (clips && !is_range), "a post-op changes what a call takes");
      statistics_.reset();
      if (!done) return;
      const auto after = [&](double v, double z) { return clips ? std::min(std::max(v, low), high) : v * z; };
      for (Index i = 0; i < y.size(); ++i) {
        const double v = to_double(y.data()[i]), z = to_double(dy_.data()[i]), got = to_double(y_.data()[i]);
        const double want = to_double(from_double<Scalar>(std::isnan(v) ? v : after(v, z)));
        const bool is_same = got == want || (std::isnan(got) && std::isnan(want));
        require(is_same || (rounds && !clips) || (clips && std::is_same<Scalar, float>::value),
                "a post-op gave something else");
        of_result.data()[i] = from_double<Scalar>(clips ? (v > low && v < high ? z : 0) : z * z);
      }
      if (infers || (clips && rounds)) return;
      Map dz_map = map(dz);
      const bool back = call(layer, [&] {
        clips ? layer.backward(on, map(x_), then_clip(map(dy_), low, high), map(dx_))
              : layer.backward(on, map(x_), then_times(map(dy_), map(dy_), dz_map), map(dx_));
      });
      require(dz.guards_intact(), "dz was written where it must not");
      require(throws([&] { other.backward(on, map(x_), map(of_result), map(dx)); }) != back,
              "a post-op changes what backward takes");
    }
  }

  // ---- data sets

  /// Two halves of x merge to the moments of x; y is the oracle's, and inverse gives x.
  void standardize() {
    const int over = in_.below(Rank + 2) - 1;
    const Eigen::ThreadPoolDevice& on = device(in_.flag());
    Moments whole, again;
    if (throws([&] { whole = moments(on, map(x_), {over}); })) return;
    again = moments(device(false), map(x_), {over});
    require(bytes(whole.mean) == bytes(again.mean) && bytes(whole.m2) == bytes(again.m2), "helpers changed moments");
    const std::size_t axis = std::size_t(over < 0 ? over + Rank : over);
    const Index first = extents_[axis] == 0 ? 0 : in_.next() % (extents_[axis] + 1);
    Standardizer<Scalar> standardizer({over});
    const Tensor x = map(x_);
    Eigen::DSizes<Index, Rank> begin, size = x.dimensions();
    size[axis] = first;
    for (int half = 0; half < 2; ++half) {
      Tensor part(size);
      if (part.size() > 0) part = x.slice(begin, size);
      require(!throws([&] { standardizer.partial_fit(on, part); }), "a half is refused");
      begin[axis] = first;
      size[axis] = extents_[axis] - first;
    }
    const Moments& both = standardizer.moments();
    require(both.n == whole.n && both.m2.size() == whole.m2.size(), "halves have other counts");
    for (Index i = 0; tame_x_ && i < both.m2.size(); ++i) {
      require(std::abs(both.mean[i] - whole.mean[i]) <= 1e-6 * (std::abs(whole.mean[i]) + 1),
              "halves have another mean");
      require(std::abs(both.m2[i] - whole.m2[i]) <= 1e-5 * whole.m2[i] + 1e-9, "halves have another variance");
    }
    const std::string before = bits(y_);
    if (throws([&] { standardizer.transform(on, x, map(y_)); })) {
      require(whole.n == 0 && bits(y_) == before, "transform is refused");
      return;
    }
    standardizer.inverse(on, map(y_), map(dx_));
    require(y_.guards_intact() && dx_.guards_intact(), "a standardizer wrote where it must not");
    for (Index i = 0; tame_x_ && i < x.size(); ++i) {
      const double want = to_double(x.data()[i]);
      require_near<Scalar>(to_double(dx_.data()[i]), want, 4 + std::abs(want), "inverse does not give x");
    }
  }

  // ---- clipping

  void clip() {
    constexpr NormType kTypes[] = {NormType::kOne, NormType::kTwo, NormType::kInfinity};
    ClipGradNormOptions options;
    options.norm_type = in_.one_of(kTypes);
    options.error_if_nonfinite = in_.flag();
    const double bound = in_.one_of(kNumbers), value = in_.one_of(kNumbers);
    const Eigen::ThreadPoolDevice& on = device(in_.flag());
    Buffer<Scalar> a(x_), b(dy_), c(x_), d(dy_);
    const auto clipped = [&](const auto& where, Buffer<Scalar>& first, Buffer<Scalar>& second) {
      try {
        clip_grad_norm(where, bound, options, map(first), map(second));
      } catch (const std::range_error&) {
        require(bits(first) + bits(second) == inputs_, "clipping threw and changed a gradient");
      } catch (const std::invalid_argument&) {
        require(bits(first) + bits(second) == inputs_, "clipping threw and changed a gradient");
      }
      throws([&] { clip_grad_value(where, value, map(first), map(second)); });
      require(first.guards_intact() && second.guards_intact(), "clipping wrote where it must not");
    };
    clipped(on, a, b);
    clipped(Eigen::DefaultDevice(), c, d);
    require(bits(a) == bits(c) && bits(b) == bits(d), "helpers changed the bits of clipping");
  }

  Bytes& in_;
  const Extents extents_;
  Index channels_ = 0;
  Buffer<Scalar> x_, dy_, y_, dx_;
  std::string inputs_;
  bool tame_x_ = false, tame_layer_ = false;
  std::optional<Statistics> statistics_;  // of the last forward, where the oracle has them
  bool frozen_ = false;
};

}  // namespace
}  // namespace tensornorm_test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tensornorm_test;
  Bytes in(data, size);
  switch (in.below(5)) {
    case 0:
      return Session<float, 2, kRow>(in).run(), 0;
    case 1:
      return Session<float, 4, kCol>(in).run(), 0;
    case 2:
      return Session<double, 3, kRow>(in).run(), 0;
    case 3:
      return Session<Eigen::half, 3, kRow>(in).run(), 0;
    default:
      return Session<Eigen::bfloat16, 4, kRow>(in).run(), 0;
  }
}
