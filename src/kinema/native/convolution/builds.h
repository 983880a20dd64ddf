#pragma once

#include <string>

#include "convolution/kernels.h"

namespace kinema::convolution {

// The build of the kernels for one of targets().
const Kernels& kernels_of(const std::string& target);

}  // namespace kinema::convolution
