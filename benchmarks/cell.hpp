// Cell: one thing to be measured. A layer, a pass, where the axes lie in memory, how long they are, the scalar and the
// number of threads; and the list of all that are.
#pragma once

#include <Eigen/Core>
#include <string>
#include <vector>

namespace bench {

using Eigen::Index;

enum class Layer { kBatch, kInstance, kGroup, kLayer, kRms };
enum class Pass { kTrain, kInfer, kBackward };
enum class Scalar { kFloat, kDouble, kHalf, kBfloat16 };

/// Logical extents N, C, S1, S2 (or N, C alone) and their order in memory, outermost first: "NCHW" and "NHWC" are
/// row-major tensors with the channels first or last, "NC" and "ND" row-major matrices, and "WHCN", "CN" and "DN" what
/// the same tensors are in Eigen's own column-major order.
struct Cell {
  Layer layer;
  Pass pass;
  std::string order;
  Index n, c, h = 1, w = 1;
  Index groups = 1;  // of GroupNorm
  Scalar scalar = Scalar::kFloat;
  int threads = 1;

  bool is_image() const { return order.size() == 4; }
  bool is_row_major() const { return order[0] == 'N'; }
  bool channels_last() const { return order == "NHWC"; }
  Index space() const { return h * w; }
  Index count() const { return n * c * space(); }
  std::size_t scalar_bytes() const;
  /// Of x, and so of y, dy and dx.
  std::size_t bytes() const { return static_cast<std::size_t>(count()) * scalar_bytes(); }

  /// Strides in memory of a sample, a channel and a place in space.
  Index n_stride() const;
  Index c_stride() const;
  Index s_stride() const;

  /// Channels (or features of a row) that share a statistic, and whether all samples do.
  Index stat_channels() const;
  bool stat_spans_space() const { return layer != Layer::kLayer && layer != Layer::kRms; }
  bool stat_spans_samples() const { return layer == Layer::kBatch; }
  Index stat_count() const { return (stat_spans_samples() ? 1 : n) * (c / stat_channels()); }

  /// LAYER/PASS/ORDER/EXTENTS/SCALAR/THREADS, the extents in the order of memory: "32x56x56x64", with groups "g32".
  std::string name() const;
  /// The same without scalar and threads, or without threads.
  std::string shape_name() const;
};

/// The same axes, layer and scalar over a tensor of at most `count` elements, if a smaller batch and less height do it.
Cell shortened(Cell cell, Index count);

const char* name_of(Layer layer);
const char* name_of(Pass pass);
const char* name_of(Scalar scalar);

/// Real shapes, each with every pass, scalar and number of threads: 1 and `all_threads`.
std::vector<Cell> every_cell(int all_threads);

/// What `compare` measures: every shape and pass in float, the shapes that matter most in the other scalars.
std::vector<Cell> compared_cells(int all_threads);

}  // namespace bench
