// How the kernels cut up their work for one kind of processor.
#pragma once

#include "support/vectors.h"

namespace kinema::convolution {
namespace {

constexpr int kPanel = 2 * kWidth;

// Rows of products that are kept in registers.
#if defined(__AVX512F__)
constexpr int kRows = 14;
#elif defined(__AVX2__)
constexpr int kRows = 6;
#elif defined(__x86_64__)
constexpr int kRows = 4;
#else
constexpr int kRows = 8;  // ARM has twice as many registers
#endif

// Products are summed over this many channels at a time, and the sums are added: the rounding
// errors of one long sum would be most of the error of the whole convolution.
constexpr int kSum = 64;

}  // namespace
}  // namespace kinema::convolution
