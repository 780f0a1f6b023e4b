// expect: (static assertion failed|static_assert failed).*tensornorm.*walked twice.*std::vector
#include <tensornorm/clip_grad.hpp>

#include <iterator>
#include <vector>

// Gradients from a stream, say: an iterator that is read once.
struct Stream {
  struct Iterator {
    using iterator_category = std::input_iterator_tag;
    using value_type = Eigen::MatrixXf;
    using difference_type = std::ptrdiff_t;
    using pointer = Eigen::MatrixXf*;
    using reference = Eigen::MatrixXf&;
    Eigen::MatrixXf* at;
    reference operator*() const { return *at; }
    Iterator& operator++() { return ++at, *this; }
    bool operator!=(const Iterator& other) const { return at != other.at; }
  };
  Iterator begin() { return {list.data()}; }
  Iterator end() { return {list.data() + list.size()}; }
  std::vector<Eigen::MatrixXf> list;
};

int main() {
  Stream stream;
#ifdef TENSORNORM_EXPECT_OK
  std::vector<tensornorm::GradientRef> list(stream.begin(), stream.end());
  return int(tensornorm::clip_grad_norm(1, list));
#else
  return int(tensornorm::clip_grad_norm(1, stream));
#endif
}
