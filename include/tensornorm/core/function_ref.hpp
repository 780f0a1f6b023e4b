// FunctionRef: a callable passed by reference, so that what takes one is compiled once and not for each callable.
#pragma once

namespace tensornorm {
namespace core {

template <class Signature>
class FunctionRef;

// Refers to the callable, which must outlive it; never allocates.
template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  template <class Function>
  FunctionRef(const Function& function)  // NOLINT(google-explicit-constructor): that is its use
      : function_(&function), call_([](const void* f, Arguments... a) -> Result {
          return static_cast<Result>((*static_cast<const Function*>(f))(a...));
        }) {}

  Result operator()(Arguments... a) const { return call_(function_, a...); }

 private:
  const void* function_;
  Result (*call_)(const void*, Arguments...);
};

}  // namespace core
}  // namespace tensornorm
