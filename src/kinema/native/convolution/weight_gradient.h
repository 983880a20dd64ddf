// The gradient to the weights (see layer_gradients.h), by all threads of a team.
#pragma once

#include <cstddef>

#include "convolution/work.h"

namespace kinema::convolution {

// How it is cut up, and the memory for it. Nothing of this may depend on the number of threads, for
// the order of the sums depends on it.
//
// Sums of the products that fit a core's cache are kept once for each of `kParts` parts of the
// rows; whatever thread takes a part transforms a few tiles at a time and adds up their products.
// Larger sums are kept once: all threads transform a chunk of rows, then each takes some of the
// products.
struct GradientPlan {
  static constexpr int kParts = 16;

  bool parts;
  int areas;                                 // of a chunk
  std::size_t input, output, scratch, sums;  // floats; sums of one part

  GradientPlan(const Convolution& c, const Kernels& kernels, int clips);

  std::size_t workspace(int threads) const {
    return (input + output) * (parts ? threads : 1) + threads * scratch;
  }
  std::size_t all_sums() const { return sums * (parts ? kParts : 1); }
};

// What one group of clips adds to the sums. Every thread of the team calls the same functions.
struct WeightGradient {
  Work& work;
  const Convolution& c;
  const GradientPlan& plan;
  const Pooling* pooling;
  const float* input;
  const float* gradient;
  const unsigned char* winners;
  float *workspace, *sums;

  // Adds to `sums`, or begins them.
  void run(bool add) const;

 private:
  void run_chunks(int areas, int panels, bool add) const;
  void run_parts(int areas, int panels, bool add) const;
  int blocks() const;
  void transform(int block, int area, int areas, Transformed, Products, int row,
                 float* scratch) const;
  void multiply(Transformed, Products, int product, int panel, float* to, bool add) const;
  Products products(float* data, int rows) const;
};

// The sums of all groups -> the gradient, (out, in, taps).
void finish_weight_gradient(Work&, const Convolution&, const GradientPlan&, float* sums,
                            float* gradient);

}  // namespace kinema::convolution
