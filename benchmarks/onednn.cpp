// oneDNN's primitives as contenders, versions 2 and 3. A module of its own: see contender.hpp.
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include <unordered_map>

#include "contender.hpp"

namespace bench {

namespace {

using dnnl::memory;
using dnnl::normalization_flags;
using dnnl::prop_kind;

#if DNNL_VERSION_MAJOR >= 3
// Version 3 makes a primitive's descriptor in one step and has a destination of its own.
template <class Primitive, class... Rest>
typename Primitive::primitive_desc forward_desc(const dnnl::engine& engine, prop_kind kind, const memory::desc& x,
                                                const Rest&... rest) {
  return {engine, kind, x, x, rest...};
}
template <class Primitive, class Hint, class... Rest>
typename Primitive::primitive_desc backward_desc(const dnnl::engine& engine, const Hint& hint, const memory::desc& x,
                                                 const Rest&... rest) {
  return {engine, prop_kind::backward, x, x, x, rest..., hint};
}
#else
template <class Primitive, class... Rest>
typename Primitive::primitive_desc forward_desc(const dnnl::engine& engine, prop_kind kind, const memory::desc& x,
                                                const Rest&... rest) {
  return {typename Primitive::desc(kind, x, rest...), engine};
}
template <class Primitive, class Hint, class... Rest>
typename Primitive::primitive_desc backward_desc(const dnnl::engine& engine, const Hint& hint, const memory::desc& x,
                                                 const Rest&... rest) {
  return {typename Primitive::desc(prop_kind::backward, x, x, rest...), engine, hint};
}
#endif

/// Column-major cells are given to oneDNN row-major, except for the blocked layout, which is none of ours.
class OneDnn : public Contender {
 public:
  OneDnn(const Cell& cell, const Operands& o, bool blocked)
      : cell_(cell), blocked_(blocked), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    omp_set_num_threads(cell.threads);
    const float epsilon = static_cast<float>(kEps);
    auto flags = normalization_flags::use_scale | normalization_flags::use_shift;
    const bool training = cell.pass != Pass::kInfer;
    const auto kind = training ? prop_kind::forward_training : prop_kind::forward_inference;
    const auto x = plain_ = user_desc();
    desc_ = blocked ? blocked_desc() : x;
    switch (cell.layer) {
      case Layer::kBatch:
        if (!training) flags = flags | normalization_flags::use_global_stats;
        make<dnnl::batch_normalization_forward, dnnl::batch_normalization_backward>(kind, epsilon, flags);
        break;
      case Layer::kLayer:
        make<dnnl::layer_normalization_forward, dnnl::layer_normalization_backward>(kind, epsilon, flags);
        break;
      default:
#if DNNL_VERSION_MAJOR >= 3
        make<dnnl::group_normalization_forward, dnnl::group_normalization_backward>(
            kind, cell.layer == Layer::kInstance ? cell.c : cell.groups, epsilon, flags);
        break;
#else
        throw dnnl::error(dnnl_unimplemented, "no such primitive");
#endif
    }
    make_arguments(o);
    if (cell.pass == Pass::kBackward) forward_.execute(stream_, arguments_);
    stream_.wait();
  }

  void run() override {
    omp_set_num_threads(cell_.threads);
    (cell_.pass == Pass::kBackward ? backward_ : forward_).execute(stream_, arguments_);
    stream_.wait();
  }

  const void* result() const override {
    if (!cell_.is_row_major()) return nullptr;
    if (!blocked_) return result_.get_data_handle();
    memory plain(plain_, engine_);
    dnnl::stream stream(engine_);
    memory from = result_;
    dnnl::reorder(from, plain).execute(stream, from, plain);
    stream.wait();
    reordered_ = plain;
    return plain.get_data_handle();
  }

 private:
  memory::data_type type() const {
    switch (cell_.scalar) {
      case Scalar::kHalf:
        return memory::data_type::f16;
      case Scalar::kBfloat16:
        return memory::data_type::bf16;
      default:
        return memory::data_type::f32;
    }
  }
  memory::dims extents() const {
    if (!cell_.is_image()) return {cell_.n, cell_.c};
    return {cell_.n, cell_.c, cell_.h, cell_.w};
  }
  memory::desc user_desc() const {
    using Tag = memory::format_tag;
    return {extents(), type(), !cell_.is_image() ? Tag::nc : cell_.channels_last() ? Tag::nhwc : Tag::nchw};
  }
  memory::desc blocked_desc() const {
    using Tag = memory::format_tag;
    const bool wide = dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core;
    return {extents(), type(), wide ? Tag::nChw16c : Tag::nChw8c};
  }

  template <class Forward, class Backward, class... Rest>
  void make(prop_kind kind, const Rest&... rest) {
    const auto desc = forward_desc<Forward>(engine_, kind, desc_, rest...);
    forward_ = Forward(desc);
    mean_ = desc.mean_desc();
    var_ = desc.variance_desc();
    if (cell_.pass != Pass::kBackward) return;
    backward_ = Backward(backward_desc<Backward>(engine_, desc, desc_, rest...));
  }

  memory params(const void* from) {
    memory result({{cell_.c}, memory::data_type::f32, memory::format_tag::a}, engine_);
    std::copy_n(static_cast<const float*>(from), cell_.c, static_cast<float*>(result.get_data_handle()));
    return result;
  }
  memory operand(const void* from) {
    memory user(plain_, engine_, const_cast<void*>(from));  // it is not written
    if (!blocked_) return user;
    memory result(desc_, engine_);
    dnnl::reorder(user, result).execute(stream_, user, result);
    stream_.wait();
    return result;
  }

  void make_arguments(const Operands& o) {
    const memory x = operand(o.x);
    result_ = blocked_ ? memory(desc_, engine_) : memory(plain_, engine_, o.y);
    memory mean(mean_, engine_), var(var_, engine_);
    if (cell_.pass == Pass::kInfer && cell_.layer == Layer::kBatch) {
      mean = params(o.running_mean);
      var = params(o.running_var);
    }
    arguments_ = {{DNNL_ARG_SRC, x},     {DNNL_ARG_SCALE, params(o.gamma)}, {DNNL_ARG_SHIFT, params(o.beta)},
                  {DNNL_ARG_MEAN, mean}, {DNNL_ARG_VARIANCE, var},          {DNNL_ARG_DST, result_}};
    if (cell_.pass != Pass::kBackward) return;
    arguments_.insert({DNNL_ARG_DIFF_DST, operand(o.dy)});
    arguments_.insert({DNNL_ARG_DIFF_SRC, result_});
    arguments_.insert({DNNL_ARG_DIFF_SCALE, params(o.gamma)});
    arguments_.insert({DNNL_ARG_DIFF_SHIFT, params(o.beta)});
  }

  Cell cell_;
  bool blocked_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  memory::desc plain_, desc_, mean_, var_;
  dnnl::primitive forward_, backward_;
  std::unordered_map<int, memory> arguments_;
  memory result_;
  mutable memory reordered_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) Contender* make_onednn(PeerKind peer, const Cell& cell,
                                                                         const Operands& operands) {
  const bool blocked = peer == PeerKind::kOneDnnBlocked;
  if (cell.scalar == Scalar::kDouble || cell.layer == Layer::kRms) return nullptr;
  if (blocked && (cell.layer != Layer::kBatch || cell.order != "NCHW" || cell.c % 16 != 0)) return nullptr;
  try {
    return std::make_unique<OneDnn>(cell, operands, blocked).release();
  } catch (const dnnl::error&) {  // no primitive for this cell
    return nullptr;
  }
}

extern "C" __attribute__((visibility("default"))) const char* onednn_version() {
  static const dnnl_version_t* v = dnnl_version();
  static const std::string version =
      std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  return version.c_str();
}

}  // namespace bench
