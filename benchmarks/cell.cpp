#include "cell.hpp"

#include <algorithm>

namespace bench {

namespace {

/// Shapes in all the orders they come in.
std::vector<Cell> shapes() {
  std::vector<Cell> cells;
  const auto add = [&](Layer layer, const std::vector<const char*>& orders, Index n, Index c, Index h, Index w,
                       Index groups = 1) {
    for (const char* order : orders) cells.push_back({layer, Pass::kTrain, order, n, c, h, w, groups});
  };
  const std::vector<const char*> images = {"NCHW", "NHWC", "WHCN"};
  const auto add_square = [&](Layer layer, const std::vector<const char*>& orders, Index n, Index c, Index side,
                              Index groups = 1) { add(layer, orders, n, c, side, side, groups); };

  // ResNet-50, a batch of 32.
  add_square(Layer::kBatch, images, 32, 64, 112);
  add_square(Layer::kBatch, images, 32, 64, 56);
  add_square(Layer::kBatch, images, 32, 256, 56);
  add_square(Layer::kBatch, images, 32, 512, 28);
  add_square(Layer::kBatch, images, 32, 1024, 14);
  add_square(Layer::kBatch, images, 32, 2048, 7);
  // Features of a dense network: small batches, a large one, a table.
  for (const auto& [n, c] : {std::pair<Index, Index>{32, 16}, {64, 32}, {64, 256}, {1024, 1024}}) {
    add(Layer::kBatch, {"NC", "CN"}, n, c, 1, 1);
    for (const Layer layer : {Layer::kLayer, Layer::kRms}) add(layer, {"ND"}, n, c, 1, 1);
  }
  for (const char* order : {"NC", "CN"}) {
    add(Layer::kBatch, {order}, 256, 512, 1, 1);
    add(Layer::kBatch, {order}, 65536, 512, 1, 1);
    add(Layer::kBatch, {order}, 1000000, 24, 1, 1);
  }

  // Transformers: GPT-2 and BERT (768, one sequence, 16 of 1024), 7 B models (4096), attention heads (64, 128), and
  // rows that are no multiple of a vector.
  for (const auto& [rows, d] : {std::pair<Index, Index>{65536, 64},
                                {32768, 128},
                                {16384, 768},
                                {4096, 4096},
                                {2048, 8192},
                                {512, 768},
                                {128, 512},
                                {1000, 96},
                                {20000, 777}}) {
    for (const Layer layer : {Layer::kLayer, Layer::kRms}) add(layer, {"ND"}, rows, d, 1, 1);
  }
  add(Layer::kLayer, {"DN"}, 16384, 768, 1, 1);
  add(Layer::kRms, {"DN"}, 16384, 768, 1, 1);
  // Single frames: control loops, audio, one token.
  for (const Index d : {8, 64, 256, 1024, 4096}) {
    for (const Layer layer : {Layer::kLayer, Layer::kRms}) add(layer, {"ND"}, 1, d, 1, 1);
  }

  // Stable Diffusion's U-Net and decoder; ResNet-50 with groups of 4 to 64 channels.
  add_square(Layer::kGroup, {"NCHW", "NHWC"}, 2, 320, 64, 32);
  add_square(Layer::kGroup, {"NCHW", "NHWC"}, 2, 1280, 16, 32);
  add_square(Layer::kGroup, images, 1, 128, 512, 32);
  add_square(Layer::kGroup, images, 32, 256, 56, 32);
  add_square(Layer::kGroup, {"NCHW", "NHWC"}, 32, 256, 56, 4);
  add_square(Layer::kGroup, {"NCHW", "NHWC"}, 32, 1024, 14, 32);
  add_square(Layer::kGroup, {"NCHW", "NHWC"}, 32, 2048, 7, 32);

  // Style transfer.
  add_square(Layer::kInstance, images, 4, 64, 128);
  add_square(Layer::kInstance, images, 4, 32, 512);
  add_square(Layer::kInstance, {"NCHW", "NHWC"}, 32, 512, 28);
  return cells;
}

constexpr Pass kPasses[] = {Pass::kTrain, Pass::kInfer, Pass::kBackward};

void add_passes(std::vector<Cell>& cells, Cell cell, Scalar scalar, int threads) {
  cell.scalar = scalar;
  cell.threads = threads;
  for (const Pass pass : kPasses) {
    cell.pass = pass;
    cells.push_back(cell);
  }
}

/// Only running statistics make infer more than train without the statistics kept.
void drop_repetitions(std::vector<Cell>& cells) {
  const auto repeats = [](const Cell& cell) { return cell.pass == Pass::kInfer && cell.layer != Layer::kBatch; };
  cells.erase(std::remove_if(cells.begin(), cells.end(), repeats), cells.end());
}

std::vector<int> thread_counts(int all_threads) {
  if (all_threads == 1) return {1};
  return {1, all_threads};
}

}  // namespace

std::vector<Cell> every_cell(int all_threads) {
  std::vector<Cell> cells;
  for (const int threads : thread_counts(all_threads)) {
    for (const Cell& cell : shapes()) {
      for (const Scalar scalar : {Scalar::kFloat, Scalar::kDouble, Scalar::kHalf, Scalar::kBfloat16}) {
        add_passes(cells, cell, scalar, threads);
      }
    }
  }
  return cells;
}

std::vector<Cell> compared_cells(int all_threads) {
  std::vector<Cell> cells;
  for (const int threads : thread_counts(all_threads)) {
    for (const Cell& cell : shapes()) add_passes(cells, cell, Scalar::kFloat, threads);
    for (const Cell& cell : shapes()) {
      const bool large = cell.n == 16384 || (cell.n == 32 && cell.c == 256 && cell.groups != 4);
      const bool in_cache = cell.n == 512;
      if (!large && !in_cache) continue;
      for (const Scalar scalar : {Scalar::kDouble, Scalar::kHalf, Scalar::kBfloat16}) {
        add_passes(cells, cell, scalar, threads);
      }
    }
  }
  drop_repetitions(cells);
  return cells;
}

Cell shortened(Cell cell, Index count) {
  for (Index* const extent : {&cell.n, &cell.h}) {
    const Index rest = cell.count() / *extent;
    *extent = std::clamp(count / rest, Index{1}, *extent);
  }
  return cell;
}

std::size_t Cell::scalar_bytes() const { return scalar == Scalar::kDouble ? 8 : scalar == Scalar::kFloat ? 4 : 2; }

Index Cell::n_stride() const { return is_row_major() ? c * space() : 1; }
Index Cell::c_stride() const { return is_row_major() ? (channels_last() ? 1 : space()) : n; }
Index Cell::s_stride() const { return is_row_major() ? (channels_last() ? c : 1) : n * c; }

Index Cell::stat_channels() const {
  switch (layer) {
    case Layer::kGroup:
      return c / groups;
    case Layer::kLayer:
    case Layer::kRms:
      return c;
    default:
      return 1;
  }
}

std::string Cell::shape_name() const {
  std::string result = std::string(name_of(layer)) + "/" + name_of(pass) + "/" + order + "/";
  for (std::size_t i = 0; i < order.size(); ++i) {
    const char axis = order[i];
    const Index extent = axis == 'N' ? n : axis == 'H' ? h : axis == 'W' ? w : c;
    result += (i == 0 ? "" : "x") + std::to_string(extent);
  }
  if (layer == Layer::kGroup) result += "g" + std::to_string(groups);
  return result;
}

std::string Cell::name() const { return shape_name() + "/" + name_of(scalar) + "/" + std::to_string(threads); }

const char* name_of(Layer layer) {
  static constexpr const char* kNames[] = {"BatchNorm", "InstanceNorm", "GroupNorm", "LayerNorm", "RMSNorm"};
  return kNames[static_cast<int>(layer)];
}

const char* name_of(Pass pass) {
  static constexpr const char* kNames[] = {"train", "infer", "backward"};
  return kNames[static_cast<int>(pass)];
}

const char* name_of(Scalar scalar) {
  static constexpr const char* kNames[] = {"float", "double", "half", "bfloat16"};
  return kNames[static_cast<int>(scalar)];
}

}  // namespace bench
