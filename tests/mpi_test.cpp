// SyncBatchNorm between processes. Every rank runs every test.
#include <gtest/gtest.h>

#include <cstring>

#include <tensornorm/mpi.hpp>
#include <tensornorm/sync_batch_norm.hpp>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;
using Sync = SyncBatchNorm<float, MpiCommunicator>;
using Matrix = Eigen::MatrixXf;

int rank() { return MpiCommunicator().rank(); }
int size() { return MpiCommunicator().size(); }

/// Whether all ranks have the same bytes.
bool are_same(const std::string& mine) {
  std::string first = mine;
  MPI_Bcast(&first[0], int(first.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
  int same = first == mine ? 1 : 0, all = 0;
  MPI_Allreduce(&same, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return all == 1;
}

template <class Communicator>
void expect_rank_order(Communicator communicator) {
  EXPECT_EQ(communicator.size(), size());
  EXPECT_EQ(communicator.rank(), rank());
  for (const Index n : {0, 1, 5, 1000}) {
    std::vector<double> mine, all(std::size_t(n * size()), -1);
    for (Index i = 0; i < n; ++i) mine.push_back(double(1000 * rank() + i));
    communicator.all_gather(mine.data(), n, all.data());
    for (Index i = 0; i < n * size(); ++i) EXPECT_EQ(all[std::size_t(i)], double(1000 * (i / n) + i % n)) << n;
  }
}

TEST(Mpi, GathersInRankOrder) {
  expect_rank_order(MpiCommunicator());
  expect_rank_order(MpiNodeCommunicator());
  for (const int node : {0, rank(), rank() % 2, rank() / 2, -rank() + size(), rank() == 0 ? 1 : 0}) {
    expect_rank_order(MpiNodeCommunicator(MPI_COMM_WORLD, node));
  }
}

/// Rank r has r samples, but the last 5 more: the first has none.
struct Part {
  Index first, n, all;

  Part() : first(0), n(0), all(0) {
    for (int r = 0; r < size(); ++r) {
      const Index of_r = r + (r == size() - 1 ? 5 : 0);
      if (r < rank()) first += of_r;
      if (r == rank()) n = of_r;
      all += of_r;
    }
  }
};

TEST(Mpi, RanksHaveTheNumbersOfOne) {
  const Part part;
  const Index channels = 37;
  Matrix x(part.all, channels), dy = x, y, dx, of_part, dx_of_part;
  const Values values = normal(2 * x.size(), 3, 100);
  for (Index i = 0; i < x.size(); ++i) {
    x.data()[i] = float(values[std::size_t(i)]);
    dy.data()[i] = float(values[std::size_t(i + x.size())] - 100);
  }
  BatchNorm<float> whole(channels);
  Sync layer(channels, MpiCommunicator());
  stir(whole);
  stir(layer);
  SyncBatchNorm<float, MpiNodeCommunicator> by_node(channels, MpiNodeCommunicator(MPI_COMM_WORLD, rank() % 2));
  stir(by_node);
  for (int step = 0; step < 3; ++step) {
    const Matrix its_x = x.middleRows(part.first, part.n), its_dy = dy.middleRows(part.first, part.n);
    whole.forward(x, y);
    whole.backward(x, dy, dx);
    layer.forward(its_x, of_part);
    layer.backward(its_x, its_dy, dx_of_part);
    const Matrix want = y.middleRows(part.first, part.n), want_dx = dx.middleRows(part.first, part.n);
    // No ASSERT: a rank that leaves would keep the others waiting.
    float off_y = 0, off_dx = 0;
    for (Index i = 0; i < want.size(); ++i) {
      off_y = std::max(off_y, std::abs(of_part.data()[i] - want.data()[i]) / std::max(4.F, std::abs(want.data()[i])));
      off_dx = std::max(off_dx, std::abs(dx_of_part.data()[i] - want_dx.data()[i]));
    }
    EXPECT_LE(off_y, 3e-7F);
    EXPECT_LE(off_dx, 2e-6F);
    EXPECT_TRUE(are_same(running(layer) + bytes(layer.mean()) + bytes(layer.rstd())));
    Matrix y_by_node, dx_by_node;
    by_node.forward(its_x, y_by_node);
    by_node.backward(its_x, its_dy, dx_by_node);
    EXPECT_EQ(bytes(y_by_node), bytes(of_part));
    EXPECT_EQ(bytes(dx_by_node), bytes(dx_of_part));
    EXPECT_EQ(running(by_node), running(layer));
    x *= 1.5F;
  }
}

TEST(Mpi, OneValueOnEachRank) {
  const Matrix x = Matrix::Constant(1, 3, float(rank()));
  Matrix y = Matrix::Constant(2, 2, 7);
  Sync layer(3, MpiCommunicator());
  if (size() == 1) {
    EXPECT_NE(refusal_of([&] { layer.forward(x, y); }).find("1 in all"), std::string::npos);
    EXPECT_EQ(y, Matrix::Constant(2, 2, 7));
    return;
  }
  layer.forward(x, y);
  const double mean = (size() - 1) / 2.0, var = (double(size()) * size() - 1) / 12;
  EXPECT_NEAR(double(y(0, 0)), (rank() - mean) / std::sqrt(var + 1e-5), 1e-6);
}

TEST(Mpi, WhatOneRankIsRefusedNoRankDoes) {
  const Matrix x = Matrix::Random(3, 4);
  for (int at_fault = 0; at_fault < size(); ++at_fault) {
    Matrix y = Matrix::Constant(2, 2, 7), dx;
    Sync layer(4, MpiCommunicator());
    layer.forward(x, dx);
    const std::string before = state(layer);
    const bool is_wrong = rank() == at_fault;
    const std::string forward = refusal_of([&] { is_wrong ? layer.forward(x.leftCols(3), y) : layer.forward(x, y); });
    const std::string backward =
        refusal_of([&] { is_wrong ? layer.backward(x, x.topRows(2), y) : layer.backward(x, x, y); });
    const std::string others = "rank " + std::to_string(at_fault) + " of " + std::to_string(size()) + " refused";
    EXPECT_NE(forward.find(is_wrong ? "3 channels" : others), std::string::npos) << forward;
    EXPECT_NE(backward.find(is_wrong ? "dy has extents" : others), std::string::npos) << backward;
    EXPECT_EQ(state(layer), before);
    EXPECT_EQ(y, Matrix::Constant(2, 2, 7));
    layer.backward(x, x, dx);
    EXPECT_EQ(dx.rows(), 3);
  }
}

}  // namespace
}  // namespace tensornorm_test

int main(int count, char** arguments) {
  MPI_Init(&count, &arguments);
  testing::InitGoogleTest(&count, arguments);
  int failed = RUN_ALL_TESTS(), any = 0;
  MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return any;
}
