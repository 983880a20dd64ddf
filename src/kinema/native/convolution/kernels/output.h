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

// The largest value of a window. Its bias comes last: x -> x + bias never decreases, also when
// rounded.
struct Largest {
  Vector value;

  void begin(Vector first, int, const Tile&) { value = first; }
  void take(Vector next, int, const Tile&) { value = larger(next, value); }
  void take(const Largest& next) { value = larger(next.value, value); }
  Vector biased(const Tile& tile) const { return value + tile.bias; }
  void write_place(const Tile&, std::ptrdiff_t) const {}
};

// The same and which sample it was. Values are compared as they will be, after the bias; of equal
// ones the first wins, and what is not a number does, as in PyTorch.
struct Winner {
  Vector value;
  Integers place;

  void begin(Vector first, int at, const Tile& tile) {
    value = first + tile.bias;
    place = at - Integers{};
  }
  void take(Vector next, int at, const Tile& tile) { take({next + tile.bias, at - Integers{}}); }
  void take(const Winner& next) {
    const Integers better = (next.value > value) | (next.value != next.value);
    value = better ? next.value : value;
    place = better ? next.place : place;
  }
  Vector biased(const Tile&) const { return value; }
  void write_place(const Tile& tile, std::ptrdiff_t to) const {
    store_bytes(tile.winners + to, place);
  }
};

// The windows T x Y x X are those of `tile`, 0 x 0 x 0 takes any. If WHOLE, none of them is cut off
// in height or width.
template <class Best, Transform KT, int T, int Y, int X, bool WHOLE>
void output_times(const Tile& tile) {
  using Sizes = Sizes<KT>;
  const int window_t = T ? T : tile.window[0], window_y = Y ? Y : tile.window[1],
            window_x = X ? X : tile.window[2];
  float* to_y = tile.to;
  for (int y = 0; y < tile.count[1]; y += window_y, to_y += tile.stride[1]) {
    const int rows = WHOLE ? window_y : least(window_y, tile.count[1] - y);
    float* to_x = to_y;
    for (int x = 0; x < tile.count[2]; x += window_x, to_x += tile.stride[2]) {
      const int columns = WHOLE ? window_x : least(window_x, tile.count[2] - x);
      const float* corner = tile.planes + (y * tile.plane_width + x) * kWidth;
      Best best[Sizes::outputs];
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
            if (i == 0 && j == 0)
              best[k].begin(out[k], place, tile);
            else
              best[k].take(out[k], place, tile);
          }
        }
      float* to_t = to_x;
#pragma GCC unroll 4
      for (int t = 0; t < Sizes::outputs; t += window_t, to_t += tile.stride[0]) {
        if (t >= tile.count[0]) break;
        Best window = best[t];
#pragma GCC unroll 2
        for (int k = t + 1; k < t + window_t; ++k)
          if (k < tile.count[0]) window.take(best[k]);
        const Vector value = window.biased(tile);
        // What is not a number stays so: an overflow must not look like a feature.
        store(to_t, tile.relu ? larger(Vector{}, value) : value);
        window.write_place(tile, to_t - tile.to);
      }
    }
  }
}

// The common windows are compiled in.
template <class Best, Transform KT>
void output_tile(const Tile& tile) {
  const int t = tile.window[0], y = tile.window[1], x = tile.window[2];
  const bool whole = tile.count[1] % y == 0 && tile.count[2] % x == 0;
  if (t == 1 && y == 1 && x == 1) return output_times<Best, KT, 1, 1, 1, true>(tile);
  if (t == 1 && y == 2 && x == 2)
    return whole ? output_times<Best, KT, 1, 2, 2, true>(tile)
                 : output_times<Best, KT, 1, 2, 2, false>(tile);
  if constexpr (Sizes<KT>::outputs > 1)
    if (t == 2 && y == 2 && x == 2)
      return whole ? output_times<Best, KT, 2, 2, 2, true>(tile)
                   : output_times<Best, KT, 2, 2, 2, false>(tile);
  output_times<Best, KT, 0, 0, 0, false>(tile);
}

void transform_output(const Convolution& c, const Pooling* pooling, Products products,
                      int first_panel, int panels, int area, int areas, const float* bias,
                      float* output, unsigned char* winners) {
  const Axis* axes[3] = {&c.time, &c.height, &c.width};
  const auto plane_of = with_transform(c.height.transform, [&]<Transform KH>() {
    return with_transform(c.width.transform, []<Transform KW>() { return &output_plane<KH, KW>; });
  });
  using OutputTimes = void (*)(const Tile&);
  const auto times = with_transform(c.time.transform, [&]<Transform KT>() -> OutputTimes {
    return winners ? output_tile<Winner, KT> : output_tile<Largest, KT>;
  });
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
