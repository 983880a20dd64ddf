// The gradient to the output -> what goes into the matrix products: the adjoint of output.h.
#pragma once

#include <cstddef>

#include "convolution/kernels.h"
#include "convolution/kernels/input.h"
#include "convolution/kernels/pooling.h"
#include "convolution/kernels/sizes.h"
#include "convolution/kernels/transforms.h"

namespace kinema::convolution {
namespace {

// The gradient of a tile's frames, transformed over height and width, from that to pooled outputs:
// all of a window's goes to its winner. Y x X are the windows, 0 x 0 takes any.
template <Transform KH, Transform KW, int Y, int X>
void pooled_frames(const Pooling& pooling, const float* gradient, const unsigned char* winners,
                   int y0, int x0, float* planes) {
  using H = Sizes<KH>;
  using W = Sizes<KW>;
  const Shape& map = pooling.input;
  int window[3];
  fused_window(pooling, window);
  const int window_y = Y ? Y : window[1], window_x = X ? X : window[2];
  const int from_y = y0 / window_y, from_x = x0 / window_x;
  for (int t = 0; t < map.time; ++t, planes += H::products * W::products * kWidth) {
    const std::ptrdiff_t frame = std::ptrdiff_t(t / window[0]) * pooling.sizes[1];
    const int corner = t % window[0] * window_y * window_x;
    Vector rows[H::outputs][W::products];
#pragma GCC unroll 4
    for (int y = 0; y < H::outputs; y += window_y) {
      const bool there = y0 + y < map.height;
      const std::ptrdiff_t line = (frame + from_y + y / window_y) * pooling.sizes[2] + from_x;
      Vector value[W::outputs];
      Integers place[W::outputs];
#pragma GCC unroll 4
      for (int x = 0; x < W::outputs; x += window_x) {
        const bool here = there && x0 + x < map.width;
        const std::ptrdiff_t at = (line + x / window_x) * kLanes;
        const Vector v = here ? load(gradient + at) : Vector{};
        const Integers p = here ? load_bytes(winners + at) - corner : Integers{};
#pragma GCC unroll 4
        for (int j = 0; j < window_x; ++j) {
          value[x + j] = v;
          place[x + j] = p - j;
        }
      }
#pragma GCC unroll 4
      for (int i = 0; i < window_y; ++i) {
        Vector d[W::outputs];
#pragma GCC unroll 4
        for (int x = 0; x < W::outputs; ++x)
          d[x] = place[x] == i * window_x - Integers{} ? value[x] : Vector{};
        gradient_1d<KW>(d, rows[y + i]);
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < W::products; ++j) {
      Vector d[H::outputs], out[H::products];
#pragma GCC unroll 8
      for (int i = 0; i < H::outputs; ++i) d[i] = rows[i][j];
      gradient_1d<KH>(d, out);
#pragma GCC unroll 8
      for (int i = 0; i < H::products; ++i) store(planes + (i * W::products + j) * kWidth, out[i]);
    }
  }
}

using PooledFrames = void (*)(const Pooling&, const float*, const unsigned char*, int, int, float*);

// The common windows are compiled in.
template <Transform KH, Transform KW>
PooledFrames pooled_frames_of(const int window[3]) {
  if constexpr (Sizes<KH>::outputs > 1 && Sizes<KW>::outputs > 1)
    if (window[1] == 2 && window[2] == 2) return pooled_frames<KH, KW, 2, 2>;
  return pooled_frames<KH, KW, 0, 0>;
}

void transform_gradient(const Convolution& c, const Pooling* pooling, const float* gradient,
                        const unsigned char* winners, int area, int areas, int block,
                        Products products, int row, float* scratch) {
  const auto frames = frames_of<Vector, Side::gradient>(c);
  int window[3] = {1, 1, 1};
  if (pooling) fused_window(*pooling, window);
  const auto pooled = with_transform(c.height.transform, [&]<Transform KH>() {
    return with_transform(c.width.transform,
                          [&]<Transform KW>() { return pooled_frames_of<KH, KW>(window); });
  });
  const auto times = times_of<Vector, Side::gradient>(c);
  const int blocks = blocks_of(c.out_channels), plane = c.height.products * c.width.products;
  const std::ptrdiff_t block_floats =
      std::ptrdiff_t((pooling ? pooling->output() : c.input).samples()) * kLanes;
  for (int i = 0; i < areas; ++i, row += c.time.tiles) {
    const int clip = (area + i) / c.areas(), tile = (area + i) % c.areas();
    const int y = tile / c.width.tiles * c.height.outputs,
              x = tile % c.width.tiles * c.width.outputs;
    const std::ptrdiff_t from = (std::ptrdiff_t(clip) * blocks + block) * block_floats;
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const int channel = block * kLanes + lane;
      if (pooling)
        pooled(*pooling, gradient + from + lane, winners + from + lane, y, x, scratch);
      else
        frames(gradient + from + lane, y, x, c.input, kLanes, lane == 0, scratch);
      float* to = products.data +
                  (std::ptrdiff_t(channel / kPanel) * products.rows + row) * kPanel +
                  channel % kPanel;
      times(scratch, plane, c.time, 0, kPanel, to, products.product_stride);
    }
  }
}

}  // namespace
}  // namespace kinema::convolution
