// The matrix products, where the time goes.
#pragma once

#include <cstddef>

#include "convolution/kernels.h"
#include "convolution/kernels/sizes.h"

namespace kinema::convolution {
namespace {

// ROWS rows times the first VECTORS vectors of a panel, summed over `depth` channels.
//   a: [channel block][row][LANES], `block_stride` floats from block to block.
//   b: [channel][kPanel]; `next` is fetched meanwhile.
template <int ROWS, int VECTORS, int LANES>
void product(const float* a, std::ptrdiff_t block_stride, const float* b, const float* next,
             int depth, float* out, bool add) {
  Vector sums[ROWS][VECTORS];
#pragma GCC unroll 32
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) sums[r][v] = Vector{};
  for (; depth > 0; depth -= LANES, a += block_stride) {
    const int channels = least(depth, LANES);
    for (int k = 0; k < channels; ++k, b += kPanel, next += kPanel) {
      Vector y[VECTORS];
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) {
        y[v] = load(b + v * kWidth);
        __builtin_prefetch(next + v * kWidth);
      }
#pragma GCC unroll 32
      for (int r = 0; r < ROWS; ++r) {
        const Vector x = splat(a[r * LANES + k]);
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = multiply_add(x, y[v], sums[r][v]);
      }
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) {
      float* to = out + r * kPanel + v * kWidth;
      store(to, add ? load(to) + sums[r][v] : sums[r][v]);
    }
}

using Product = void (*)(const float*, std::ptrdiff_t, const float*, const float*, int, float*,
                         bool);

// By rows, by vectors - 1 and by whether there are few lanes.
struct ProductTable {
  Product table[kRows + 1][2][2] = {};

  ProductTable() { fill<kRows>(); }

  template <int ROWS>
  void fill() {
    table[ROWS][0][0] = product<ROWS, 1, kLanes>;
    table[ROWS][1][0] = product<ROWS, 2, kLanes>;
    table[ROWS][0][1] = product<ROWS, 1, kFewLanes>;
    table[ROWS][1][1] = product<ROWS, 2, kFewLanes>;
    if constexpr (ROWS > 1) fill<ROWS - 1>();
  }
};

void multiply(const Convolution& c, Transformed a, int row, const float* packed, int first_panel,
              int panels, Products products) {
  static const ProductTable product;
  const int lanes = c.lanes, few = lanes == kFewLanes;
  const int channels = c.input.channels, depth = c.depth(), blocks = c.blocks();
  const int pieces = c.pieces(), count = c.products(), rows = products.rows;
  const int groups = (rows + kRows - 1) / kRows;
  const std::ptrdiff_t block_stride = std::ptrdiff_t(a.rows) * lanes;
  const std::ptrdiff_t panel_floats = std::ptrdiff_t(c.panel_floats(kPanel));
  for (int p = 0; p < count; ++p)
    for (int panel = 0; panel < panels; ++panel) {
      const int index = first_panel + panel;
      const bool half = blocks_of(c.out_channels) * kLanes - index * kPanel <= kWidth;
      const float* b = packed + index * panel_floats + std::ptrdiff_t(p) * depth * kPanel;
      float* out =
          products.data + p * products.product_stride + std::ptrdiff_t(panel) * rows * kPanel;
      for (int piece = 0; piece < pieces; ++piece)
        for (int channel = 0; channel < channels; channel += kSum) {
          const int sum = least(kSum, channels - channel);
          const float* from = a.data + p * a.product_stride +
                              (piece * blocks + channel / lanes) * block_stride + row * lanes;
          const bool add = piece > 0 || channel > 0;
          const float* next = b + sum * kPanel;
          for (int group = 0; group < groups; ++group) {
            const int first = int(std::ptrdiff_t(rows) * group / groups);
            const int last = int(std::ptrdiff_t(rows) * (group + 1) / groups);
            product.table[last - first][half ? 0 : 1][few](
                from + std::ptrdiff_t(first) * lanes, block_stride, b,
                group + 1 == groups ? next : b, sum, out + std::ptrdiff_t(first) * kPanel, add);
          }
          b = next;
        }
    }
}

// ROWS channels of the input times the first VECTORS vectors of a panel of the gradient, summed
// over `depth` rows.
//   a: [row][lanes]. b: [row][kPanel]. out: [channel][kPanel].
template <int ROWS, int VECTORS>
void gradient_product(const float* a, int lanes, const float* b, int depth, float* out, bool add) {
  Vector sums[ROWS][VECTORS];
#pragma GCC unroll 32
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) sums[r][v] = Vector{};
  for (int k = 0; k < depth; ++k, a += lanes, b += kPanel) {
    Vector y[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) y[v] = load(b + v * kWidth);
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; ++r) {
      const Vector x = splat(a[r]);
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) sums[r][v] = multiply_add(x, y[v], sums[r][v]);
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) {
      float* to = out + r * kPanel + v * kWidth;
      store(to, add ? load(to) + sums[r][v] : sums[r][v]);
    }
}

using GradientProduct = void (*)(const float*, int, const float*, int, float*, bool);

struct GradientTable {
  GradientProduct table[kRows + 1][2] = {};

  GradientTable() { fill<kRows>(); }

  template <int ROWS>
  void fill() {
    table[ROWS][0] = gradient_product<ROWS, 1>;
    table[ROWS][1] = gradient_product<ROWS, 2>;
    if constexpr (ROWS > 1) fill<ROWS - 1>();
  }
};

void multiply_gradient(const Convolution& c, Transformed a, Products b, int product, int panel,
                       float* sums, bool add) {
  static const GradientTable products;
  const int lanes = c.lanes, channels = c.input.channels, blocks = c.blocks();
  const bool half = blocks_of(c.out_channels) * kLanes - panel * kPanel <= kWidth;
  float* const out = sums + std::ptrdiff_t(product) * c.depth() * kPanel;
  const float* const gradient =
      b.data + product * b.product_stride + std::ptrdiff_t(panel) * b.rows * kPanel;
  for (int row = 0; row < a.rows; row += kSum, add = true) {
    const int rows = least(kSum, a.rows - row);
    const float* from = a.data + product * a.product_stride + std::ptrdiff_t(row) * lanes;
    float* to = out;
    for (int piece = 0; piece < c.pieces(); ++piece)
      for (int block = 0; block < blocks; ++block, from += std::ptrdiff_t(a.rows) * lanes) {
        const int here = least(lanes, channels - block * lanes);
        const int groups = (here + kRows - 1) / kRows;
        for (int group = 0; group < groups; ++group) {
          const int first = here * group / groups, last = here * (group + 1) / groups;
          products.table[last - first][half ? 0 : 1](from + first, lanes,
                                                     gradient + std::ptrdiff_t(row) * kPanel, rows,
                                                     to + std::ptrdiff_t(first) * kPanel, add);
        }
        to += std::ptrdiff_t(here) * kPanel;
      }
  }
}

}  // namespace
}  // namespace kinema::convolution
