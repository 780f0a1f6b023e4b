#pragma once

// The images that the command line asks for.

#include <stdexcept>
#include <string>

#include "digits_data.hpp"
#include "options.hpp"
#include "training.hpp"

namespace digits {

inline Split load(const Options& options) {
  Split data = options.mnist ? load_mnist(*options.mnist) : split(load_csv(options.data / "digits.csv"), options.seed);
  if (options.quick) data = {first_images(data.train, 600), first_images(data.test, 200)};
  if (data.train.size() < 2 * kBatch)
    throw std::runtime_error("training needs " + std::to_string(2 * kBatch) + " images, found " +
                             std::to_string(data.train.size()));
  return data;
}

}  // namespace digits
