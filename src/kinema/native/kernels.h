// What each processor's build of kernels.cpp offers. Every function works on one thread.
#pragma once

#include "plan.h"

namespace kinema {

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

struct Kernels {
  const char* name;
  int panel;  // output channels that are computed together

  // Packs the weights of one panel: [product][piece, channel][panel].
  //   weights: (out_channels, columns, taps); `column[c]` is where channel c stands, -1 for nowhere.
  void (*pack)(const Convolution&, const float* weights, int columns, const int* column, int panel,
               float* packed);

  // Transforms the tiles [area, area + areas) of one block of channels.
  //   input: the activation of all clips. scratch: scratch_floats(convolution).
  void (*transform_input)(const Convolution&, const float* input, int area, int areas, int block,
                          Transformed, int row, float* scratch);

  // Products of the rows from `row` on with some of the panels of weights.
  void (*multiply)(const Convolution&, Transformed, int row, const float* packed, int first_panel,
                   int panels, Products);

  // Transforms products back; adds the bias, applies ReLU, takes the maximum of each window of
  // `pooling` (may be null) and writes the activation of all clips.
  void (*transform_output)(const Convolution&, const Pooling*, Products, int first_panel,
                           int panels, int area, int areas, const float* bias, float* output);

  // Pools the planes [first, last) of (clip, channel block).
  void (*pool)(const Pooling&, const float* input, float* output, int first, int last);
};

extern const Kernels kernels_portable;
#ifdef KINEMA_X86
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace kinema
