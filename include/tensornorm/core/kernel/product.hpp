// Product: the one product of whitening, c += a * b in double.
//
// Eigen's products pack their operands, up to 128 KiB of them on the stack, and with OpenMP take threads of its own.
// This one works where the operands lie: some vectors of a column of `a` times some values of b stay in registers while
// r runs.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/packet.hpp"
#include "tensornorm/core/matrix.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// A matrix in memory: element (i, j) is at[i * row + j * col].
struct ConstMatrix {
  const double* at;
  Index row, col;

  ConstMatrix(const double* p, Index row_step, Index col_step) : at(p), row(row_step), col(col_step) {}
  // One of Eigen's, in either order.
  template <class Dense>
  explicit ConstMatrix(const Dense& m)
      : at(m.data()), row(Dense::IsRowMajor ? m.outerStride() : 1), col(Dense::IsRowMajor ? 1 : m.outerStride()) {}

  ConstMatrix transposed() const { return {at, col, row}; }
  ConstMatrix block(Index i, Index j) const { return {at + i * row + j * col, row, col}; }
};

// The vectors side by side in a column, spelled out one by one: GCC leaves short loops over arrays in memory.
template <class Isa, int n>
struct ColumnVectors {
  static constexpr int kWidth = kLanes<Isa, double>;
  using V = Vec<double, kWidth>;
  V first{};
  ColumnVectors<Isa, n - 1> rest;

  TENSORNORM_INLINE void load(const double* p) {
    std::memcpy(&first, p, sizeof first);
    rest.load(p + kWidth);
  }
  TENSORNORM_INLINE void add_product(const ColumnVectors& column, const V& factor) {
    V more;
    multiply(column.first, factor, more);
    first += more;
    rest.add_product(column.rest, factor);
  }
  TENSORNORM_INLINE void add_to(double* p) const {
    V total;
    std::memcpy(&total, p, sizeof total);
    total += first;
    std::memcpy(p, &total, sizeof total);
    rest.add_to(p + kWidth);
  }
};
template <class Isa>
struct ColumnVectors<Isa, 0> {
  TENSORNORM_INLINE void load(const double*) {}
  template <class V>
  TENSORNORM_INLINE void add_product(const ColumnVectors&, const V&) {}
  TENSORNORM_INLINE void add_to(double*) const {}
};

// So many columns of them.
template <class Isa, int columns, int n>
struct TileSums {
  ColumnVectors<Isa, n> first;
  TileSums<Isa, columns - 1, n> rest;

  TENSORNORM_INLINE void add_product(const ColumnVectors<Isa, n>& column, const double* factors, Index stride) {
    Vec<double, kLanes<Isa, double>> factor;
    VectorOps<Isa>::broadcast(*factors, factor);
    first.add_product(column, factor);
    rest.add_product(column, factors + stride, stride);
  }
  TENSORNORM_INLINE void add_to(double* p, Index stride) const {
    first.add_to(p);
    rest.add_to(p + stride, stride);
  }
  TENSORNORM_INLINE void keep_last(int skipped) {
    constexpr int lanes = kLanes<Isa, double>;
    keep_lanes<double, lanes>(skipped, lanes, first.first);
    rest.keep_last(skipped);
  }
};
template <class Isa, int n>
struct TileSums<Isa, 0, n> {
  TENSORNORM_INLINE void add_product(const ColumnVectors<Isa, n>&, const double*, Index) {}
  TENSORNORM_INLINE void add_to(double*, Index) const {}
  TENSORNORM_INLINE void keep_last(int) {}
};

// The kernel: some columns of c, in rounds of so many vectors. c and b begin with the first of the columns.
template <int columns, int vectors>
struct ProductColumns {
  ConstMatrix a, b;
  double* c;
  Index c_col, first, rows, depth;  // of the rows, those from `first` on

  template <class Isa>
  bool fills() const {
    return a.row == 1 && fill_vectors<Isa, double>(rows);
  }

  // The last vector overlaps the one before; what it shares with that one is computed twice and added once.
  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr Index lanes = kLanes<Isa, double>;
    if constexpr (Isa::is_baseline) {
      if (!fills<Isa>()) return add_elements();
    }
    Index i = first / lanes * lanes;
    for (; i + vectors * lanes <= rows; i += vectors * lanes) add_tile<Isa, vectors>(i, 0);
    for (; i < rows; i += lanes) {
      const Index at = (std::min)(i, rows - lanes);
      add_tile<Isa, 1>(at, static_cast<int>(i - at));
    }
  }

 private:
  template <class Isa, int n>
  TENSORNORM_INLINE void add_tile(Index i, int skipped) const {
    TileSums<Isa, columns, n> sums;
    ColumnVectors<Isa, n> column;
    const double *from = a.at + i, *factors = b.at;
    const Index count = depth, from_step = a.col, step = b.row, stride = b.col;
    for (Index r = 0; r < count; ++r, from += from_step, factors += step) {
      column.load(from);
      sums.add_product(column, factors, stride);
    }
    if (skipped > 0) sums.keep_last(skipped);
    sums.add_to(c + i, c_col);
  }

  TENSORNORM_INLINE void add_elements() const {
    for (Index i = first; i < rows; ++i) {
      double sums[static_cast<std::size_t>(columns)] = {};
      for (Index r = 0; r < depth; ++r) {
        const double value = a.at[i * a.row + r * a.col];
        for (int q = 0; q < columns; ++q) sums[q] += core::product(value, b.at[r * b.row + q * b.col]);
      }
      for (int q = 0; q < columns; ++q) c[i + q * c_col] += sums[q];
    }
  }
};

// c(i, q) += the sum of a(i, r) * b(r, q) over r < depth, for i < rows and q < cols; fast where a.row is 1.
struct Product {
  ConstMatrix a, b;
  double* c;  // its columns are c_col apart, the elements of one side by side
  Index c_col, rows, cols, depth;
  bool is_lower = false;  // some of what lies above the diagonal is left out

  // @pre c overlaps neither a nor b
  // @post every sum starts from 0 and takes r in order: with so many rows, an element has the same bits wherever it is
  void add() const {
    Index q = 0;
    for (; q + 4 <= cols; q += 4) add_columns<4, 2>(q);
    for (; q + 2 <= cols; q += 2) add_columns<2, 4>(q);
    if (q < cols) add_columns<1, 4>(q);
  }

 private:
  template <int columns, int vectors>
  void add_columns(Index q) const {
    dispatch(ProductColumns<columns, vectors>{a, b.block(0, q), c + q * c_col, c_col, is_lower ? q : 0, rows, depth});
  }
};

// a * b, block by block, so that what is read again lies in the cache nearest.
inline Matrix product(const Matrix& a, const Matrix& b) {
  constexpr Index kBlock = 64;
  const Index rows = a.rows(), depth = a.cols(), parts = (rows + kBlock - 1) / kBlock;
  Matrix c = Matrix::Zero(rows, b.cols());
  for (Index r = 0; r < depth; r += kBlock) {
    for (Index part = 0; part < parts; ++part) {
      const Index i = part_begin(rows, part, parts), end = part_begin(rows, part + 1, parts);
      Product{ConstMatrix(a).block(i, r),   ConstMatrix(b).block(r, 0), c.data() + i, rows, end - i, b.cols(),
              (std::min)(kBlock, depth - r)}
          .add();
    }
  }
  return c;
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
