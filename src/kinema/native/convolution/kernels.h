// What each processor's build of kernels.cpp offers. Every function works on one thread.
#pragma once

#include "convolution/plan.h"

namespace kinema::convolution {

// Rows of the transformed input of one chunk: [product][piece, channel block][row][lanes].
struct Transformed {
  float* data;
  std::ptrdiff_t product_stride;  // floats
  int rows;
};

// Products of one group of panels: [product][panel][row][panel width].
struct Products {
  float* data;
  std::ptrdiff_t product_stride;  // floats
  int rows;
};

// One channel block's frames of a tile, transformed over height and width.
inline std::size_t scratch_floats(const Convolution& c) {
  return std::size_t(c.input.time) * c.height.products * c.width.products * c.lanes;
}

// Weights as PyTorch keeps them, (out, in, taps), or as seen by the gradient to the input: with in
// and out exchanged and the taps from last to first.
struct Weights {
  const float* data;
  std::ptrdiff_t out_stride, channel_stride;  // floats
  bool flipped;
  const int* column;  // where channel c stands, -1 for nowhere; null: where it should
};

inline std::ptrdiff_t taps_of(const Convolution& c) {
  return std::ptrdiff_t(c.kernel[0]) * c.kernel[1] * c.kernel[2];
}
inline Weights weights_of(const Convolution& c, const float* data) {
  return {data, c.input.channels * taps_of(c), taps_of(c), false, nullptr};
}
// `c` is the convolution of the gradients, from out-channels to in-channels.
inline Weights weights_back(const Convolution& c, const float* data) {
  return {data, taps_of(c), c.out_channels * taps_of(c), true, nullptr};
}

struct Kernels {
  const char* name;
  int panel;  // output channels that are computed together

  // Packs the weights of one panel: [product][piece, channel][panel].
  void (*pack)(const Convolution&, const Weights&, int panel, float* packed);

  // Transforms the tiles [area, area + areas) of one block of channels.
  //   input: the activation of all clips. scratch: scratch_floats(convolution).
  void (*transform_input)(const Convolution&, const float* input, int area, int areas, int block,
                          Transformed, int row, float* scratch);

  // Products of the rows from `row` on with some of the panels of weights.
  void (*multiply)(const Convolution&, Transformed, int row, const float* packed, int first_panel,
                   int panels, Products);

  // Transforms products back; adds the bias, applies ReLU, takes the maximum of each window of
  // `pooling` (may be null) and writes the activation of all clips. `winners` (may be null) takes,
  // in the same order, which sample of its window each maximum was: the first if several are equal.
  void (*transform_output)(const Convolution&, const Pooling*, Products, int first_panel,
                           int panels, int area, int areas, const float* bias, float* output,
                           unsigned char* winners);

  // Pools the planes [first, last) of (clip, channel block).
  void (*pool)(const Pooling&, const float* input, float* output, int first, int last);

  // The way back: each gradient goes to the winner of its window, zeros to the others.
  void (*unpool)(const Pooling&, const float* gradient, const unsigned char* winners,
                 float* unpooled, int first, int last);

  // Transforms the tiles [area, area + areas) of one block (kLanes) of the gradient to the output,
  // the adjoint of transform_output: with `pooling` (may be null) from that to pooled outputs.
  // scratch: gradient_scratch_floats(convolution).
  void (*transform_gradient)(const Convolution&, const Pooling* pooling, const float* gradient,
                             const unsigned char* winners, int area, int areas, int block, Products,
                             int row, float* scratch);

  // Adds up, over all rows, the products of transformed input and transformed gradient for one of
  // the products and one panel. sums: as the packed weights of that panel; `add` to what is there.
  void (*multiply_gradient)(const Convolution&, Transformed, Products, int product, int panel,
                            float* sums, bool add);

  // The adjoint of pack: sums of one panel -> gradient (out, in, taps).
  void (*unpack)(const Convolution&, const float* sums, int panel, float* gradient);

  // `samples` of a block's channels -> [sample][lanes], and back. Where `mask` (as `from`, may be
  // null) is zero or less, zero is taken.
  void (*to_lanes)(const float* from, const float* mask, std::ptrdiff_t channel_stride,
                   int channels, int lanes, int samples, float* to);
  void (*from_lanes)(const float* from, int samples, int channels, std::ptrdiff_t channel_stride,
                     float* to);

  // Adds [sample][kLanes] to `sums`.
  void (*add_up)(const float* from, int samples, double* sums);
};

inline std::size_t gradient_scratch_floats(const Convolution& c) {
  return std::size_t(c.input.time) * c.height.products * c.width.products * kLanes;
}

}  // namespace kinema::convolution
