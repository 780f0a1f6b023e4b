// Errors. Every message holds the numbers that disagree.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <type_traits>

#include "tensornorm/core/plan/shape.hpp"

namespace tensornorm {
namespace core {

// A part of a message: a text, a number or extents.
// NOLINTBEGIN(google-explicit-constructor): a message is written as its parts
class MessagePart {
 public:
  MessagePart(const char* text) : kind_(Kind::kText), text_(text) {}
  MessagePart(double number) : kind_(Kind::kReal), real_(number) {}
  template <class Number, class = std::enable_if_t<std::is_integral<Number>::value>>
  MessagePart(Number number) : kind_(Kind::kInteger), integer_(static_cast<long long>(number)) {}
  MessagePart(std::uint64_t number) : kind_(Kind::kBits), bits_(number) {}
  MessagePart(const Shape& shape) : MessagePart(shape.extents.data(), shape.rank) {}
  MessagePart(const Index* extents, int count) : kind_(Kind::kExtents), extents_(extents), count_(count) {}

  template <class Stream>
  void write_to(Stream& out) const {
    switch (kind_) {
      case Kind::kText:
        out << text_;
        break;
      case Kind::kReal:
        out << real_;
        break;
      case Kind::kInteger:
        out << integer_;
        break;
      case Kind::kBits:
        out << bits_;
        break;
      case Kind::kExtents:
        out << '(';
        for (int d = 0; d < count_; ++d) out << (d == 0 ? "" : ", ") << extents_[d];
        out << ')';
    }
  }

 private:
  enum class Kind { kText, kReal, kInteger, kBits, kExtents };
  Kind kind_;
  union {
    const char* text_;
    double real_;
    long long integer_;
    unsigned long long bits_;
    const Index* extents_;
  };
  int count_ = 0;
};
// NOLINTEND(google-explicit-constructor)

// Raises std::invalid_argument with the parts written one after another, prefixed by the library's name.
[[noreturn]] void fail_with(std::initializer_list<MessagePart> parts);

template <class... Parts>
[[noreturn]] __attribute__((cold, noinline)) void fail(const Parts&... parts) {
  fail_with({MessagePart(parts)...});
}

template <class... Parts>
void check_that(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

// Extents that no tensor in memory has, refused before they are multiplied: a negative one, or more bytes than there
// are addresses. Those of an empty tensor too, its zeros left aside: products of some of them are strides.
// @throws std::invalid_argument
void check_extents(const Shape& shape, std::size_t element_bytes);

// Strides by which no tensor lies in memory. @throws std::invalid_argument
void check_span(const Shape& shape, std::size_t element_bytes);

// @throws std::invalid_argument when it is negative or not finite
void check_eps(double eps);

// @throws std::invalid_argument where a layer was made without extents
void check_made(Index extents);

// @throws std::invalid_argument when a running statistic cannot move by it
void check_momentum(const std::optional<double>& momentum);

// @throws std::invalid_argument when a batch x has no variance to speak of: of its channels, or of
// the channels of its samples
void check_batch(const Shape& x, Index channels);
void check_instances(const Shape& x, Index samples, Index channels);

// Values of gamma. @throws std::invalid_argument where there is no channel, or a momentum is none
Index channel_parameters(Index channels, bool affine, const std::optional<double>& momentum);

// The channel axis of x counted from 0. @throws std::invalid_argument when x has no such axis, at `first` or behind it,
// or another number of channels
int channel_axis(const Shape& x, Index wanted, Index channels, int first);
// The same for any number of channels.
int channel_axis(const Shape& x, Index wanted, int first);

// The batch axis of x counted from 0. @throws std::invalid_argument when x has no such axis, or the channels lie there
int batch_axis(const Shape& x, Index wanted, int channels);

}  // namespace core
}  // namespace tensornorm

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/check-inl.hpp"
#endif
