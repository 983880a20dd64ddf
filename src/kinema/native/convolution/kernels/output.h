// Products -> outputs: bias, ReLU and the pooling that follows.
#pragma once

#include <cstddef>

#include "convolution/kernels.h"
#include "convolution/kernels/sizes.h"
#include "convolution/kernels/transforms.h"

namespace kinema::convolution {
namespace {

// One plane of products of one tile -> outputs_h x outputs_w vectors.
template <Transform KH, Transform KW>
void output_plane(const float* from, std::ptrdiff_t product_stride, float* plane) {
  using H = Sizes<KH>;
  using W = Sizes<KW>;
  Vector rows[H::products][W::outputs];
#pragma GCC unroll 8
  for (int i = 0; i < H::products; ++i) {
    Vector p[W::products];
#pragma GCC unroll 8
    for (int j = 0; j < W::products; ++j)
      p[j] = load(from + (i * W::products + j) * product_stride);
    output_1d<KW>(p, rows[i]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < W::outputs; ++j) {
    Vector p[H::products], y[H::outputs];
#pragma GCC unroll 8
    for (int i = 0; i < H::products; ++i) p[i] = rows[i][j];
    output_1d<KH>(p, y);
#pragma GCC unroll 8
    for (int i = 0; i < H::outputs; ++i) store(plane + (i * W::outputs + j) * kWidth, y[i]);
  }
}

// One tile and one vector of channels: planes [time product][height][width] -> pooled outputs.
struct Tile {
  const float* planes;
  int plane_width, plane_floats;  // outputs along the width; floats of a plane
  int count[3];                   // outputs of this tile that lie on the map
  int window[3];                  // of the pooling
  Vector bias;
  bool relu;
  float* to;
  std::ptrdiff_t stride[3];  // floats between outputs
  unsigned char* winners;    // where those of `to` go
};

// Whether a value takes the place of the best so far. What is not a number wins, as in PyTorch.
inline Integers wins(Vector value, Vector best) { return (value > best) | (value != value); }

// The windows T x Y x X are those of `tile`, and whole in height and width; 0 x 0 x 0 takes any.
template <Transform KT, int T, int Y, int X>
void output_times(const Tile& tile) {
  using Sizes = Sizes<KT>;
  const int window_t = T ? T : tile.window[0], window_y = Y ? Y : tile.window[1],
            window_x = X ? X : tile.window[2];
  float* to_y = tile.to;
  for (int y = 0; y < tile.count[1]; y += window_y, to_y += tile.stride[1]) {
    const int rows = Y ? Y : least(window_y, tile.count[1] - y);
    float* to_x = to_y;
    for (int x = 0; x < tile.count[2]; x += window_x, to_x += tile.stride[2]) {
      const int columns = X ? X : least(window_x, tile.count[2] - x);
      const float* corner = tile.planes + (y * tile.plane_width + x) * kWidth;
      Vector best[Sizes::outputs];
#pragma GCC unroll 2
      for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < columns; ++j) {
          const float* from = corner + (i * tile.plane_width + j) * kWidth;
          Vector p[Sizes::products], out[Sizes::outputs];
#pragma GCC unroll 8
          for (int k = 0; k < Sizes::products; ++k) p[k] = load(from + k * tile.plane_floats);
          output_1d<KT>(p, out);
#pragma GCC unroll 8
          for (int k = 0; k < Sizes::outputs; ++k)
            best[k] = i == 0 && j == 0 ? out[k] : larger(out[k], best[k]);
        }
      float* to_t = to_x;
#pragma GCC unroll 4
      for (int t = 0; t < Sizes::outputs; t += window_t, to_t += tile.stride[0]) {
        if (t >= tile.count[0]) break;
        Vector value = best[t];
#pragma GCC unroll 2
        for (int k = t + 1; k < t + window_t; ++k)
          if (k < tile.count[0]) value = larger(best[k], value);
        // x -> max(x + bias, 0) never decreases, also when rounded: the maximum may come first.
        value += tile.bias;
        // What is not a number stays so: an overflow must not look like a feature.
        store(to_t, tile.relu ? larger(Vector{}, value) : value);
      }
    }
  }
}

// The same with the winners of windows, which are compared as they will be: after the bias.
template <Transform KT, int T, int Y, int X>
void output_winners(const Tile& tile) {
  using Sizes = Sizes<KT>;
  const int window_t = T ? T : tile.window[0], window_y = Y ? Y : tile.window[1],
            window_x = X ? X : tile.window[2];
  for (int y = 0; y < tile.count[1]; y += window_y) {
    const int rows = least(window_y, tile.count[1] - y);
    for (int x = 0; x < tile.count[2]; x += window_x) {
      const int columns = least(window_x, tile.count[2] - x);
      const float* corner = tile.planes + (y * tile.plane_width + x) * kWidth;
      Vector best[Sizes::outputs];
      Integers winner[Sizes::outputs];
#pragma GCC unroll 2
      for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < columns; ++j) {
          const float* from = corner + (i * tile.plane_width + j) * kWidth;
          Vector p[Sizes::products], out[Sizes::outputs];
#pragma GCC unroll 8
          for (int k = 0; k < Sizes::products; ++k) p[k] = load(from + k * tile.plane_floats);
          output_1d<KT>(p, out);
#pragma GCC unroll 8
          for (int k = 0; k < Sizes::outputs; ++k) {
            const int place = ((k % window_t) * window_y + i) * window_x + j;
            out[k] += tile.bias;
            const Integers better = i == 0 && j == 0 ? ~Integers{} : wins(out[k], best[k]);
            best[k] = better ? out[k] : best[k];
            winner[k] = better ? place - Integers{} : winner[k];
          }
        }
      const std::ptrdiff_t to = y / window_y * tile.stride[1] + x / window_x * tile.stride[2];
#pragma GCC unroll 4
      for (int t = 0; t < Sizes::outputs; t += window_t) {
        if (t >= tile.count[0]) break;
        Vector value = best[t];
        Integers place = winner[t];
#pragma GCC unroll 2
        for (int k = t + 1; k < t + window_t; ++k)
          if (k < tile.count[0]) {
            const Integers better = wins(best[k], value);
            value = better ? best[k] : value;
            place = better ? winner[k] : place;
          }
        const std::ptrdiff_t at = to + t / window_t * tile.stride[0];
        store(tile.to + at, tile.relu ? larger(Vector{}, value) : value);
        store_bytes(tile.winners + at, place);
      }
    }
  }
}

// The common windows are compiled in.
template <Transform KT>
void output_times(const Tile& tile) {
  const int t = tile.window[0], y = tile.window[1], x = tile.window[2];
  if (tile.winners) {
    if (y == 2 && x == 2 && t == 1) return output_winners<KT, 1, 2, 2>(tile);
    if (Sizes<KT>::outputs > 1 && y == 2 && x == 2 && t == 2)
      return output_winners<KT, 2, 2, 2>(tile);
    return output_winners<KT, 0, 0, 0>(tile);
  }
  if (y == 1 && x == 1 && t == 1) return output_times<KT, 1, 1, 1>(tile);
  if (Sizes<KT>::outputs > 1 && y == 2 && x == 2 && tile.count[1] % 2 == 0 &&
      tile.count[2] % 2 == 0) {
    if (t == 1) return output_times<KT, 1, 2, 2>(tile);
    if (t == 2) return output_times<KT, 2, 2, 2>(tile);
  }
  output_times<KT, 0, 0, 0>(tile);
}

void transform_output(const Convolution& c, const Pooling* pooling, Products products,
                      int first_panel, int panels, int area, int areas, const float* bias,
                      float* output, unsigned char* winners) {
  const Axis* axes[3] = {&c.time, &c.height, &c.width};
  const auto plane_of = with_transform(c.height.transform, [&]<Transform KH>() {
    return with_transform(c.width.transform, []<Transform KW>() { return &output_plane<KH, KW>; });
  });
  using OutputTimes = void (*)(const Tile&);
  const auto times = with_transform(c.time.transform,
                                    []<Transform KT>() -> OutputTimes { return output_times<KT>; });
  const int plane = c.height.products * c.width.products;
  const int out_blocks = blocks_of(c.out_channels);
  int sizes[3];
  alignas(64) float planes[6 * 16 * kWidth];
  Tile tile{};
  tile.planes = planes;
  tile.relu = c.relu;
  tile.plane_width = c.width.outputs;
  tile.plane_floats = c.height.outputs * c.width.outputs * kWidth;
  for (int i = 0; i < 3; ++i) {
    tile.window[i] = pooling ? least(pooling->kernel[i], axes[i]->outputs) : 1;
    sizes[i] = pooling ? pooling->sizes[i] : axes[i]->size;
  }
  tile.stride[2] = kLanes;
  tile.stride[1] = tile.stride[2] * sizes[2];
  tile.stride[0] = tile.stride[1] * sizes[1];
  const std::ptrdiff_t block_floats = tile.stride[0] * sizes[0];

  int row = 0;
  for (int i = 0; i < areas; ++i) {
    const int clip = (area + i) / c.areas(), position = (area + i) % c.areas();
    int at[3] = {0, position / c.width.tiles, position % c.width.tiles};
    for (; at[0] < c.time.tiles; ++at[0], ++row) {
      std::ptrdiff_t offset = 0;
      for (int axis = 0; axis < 3; ++axis) {
        const int first = at[axis] * axes[axis]->outputs;
        tile.count[axis] = least(axes[axis]->outputs, axes[axis]->size - first);
        offset += first / tile.window[axis] * tile.stride[axis];
      }
      for (int panel = 0; panel < panels; ++panel)
        for (int v = 0; v < kPanel; v += kWidth) {
          const int channel = (first_panel + panel) * kPanel + v;
          if (channel >= out_blocks * kLanes) break;
          const float* from =
              products.data + (std::ptrdiff_t(panel) * products.rows + row) * kPanel + v;
          for (int k = 0; k < c.time.products; ++k)
            plane_of(from + k * plane * products.product_stride, products.product_stride,
                     planes + k * tile.plane_floats);
          tile.bias = load(bias + channel);
          const std::ptrdiff_t to =
              (std::ptrdiff_t(clip) * out_blocks + channel / kLanes) * block_floats + offset +
              channel % kLanes;
          tile.to = output + to;
          tile.winners = winners ? winners + to : nullptr;
          times(tile);
        }
    }
  }
}

}  // namespace
}  // namespace kinema::convolution
