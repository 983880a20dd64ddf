// The kernels, compiled once for each kind of processor (see CMakeLists.txt):
// KINEMA_TARGET names the build, KINEMA_WIDTH is its number of floats in a vector register and
// KINEMA_ROWS how many rows of products it keeps in registers.
//
// Nothing of the standard library is instantiated here: an inline function compiled for AVX-512
// could be the one that the linker keeps for all.
#include "kernels.h"

#include <cmath>
#include <cstddef>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace kinema {
namespace {

constexpr int kWidth = KINEMA_WIDTH;
constexpr int kPanel = 2 * kWidth;
constexpr int kRows = KINEMA_ROWS;
// Products are summed over this many channels at a time, and the sums are added: the rounding
// errors of one long sum would be most of the error of the whole convolution.
constexpr int kSum = 64;

using Vector [[gnu::vector_size(4 * KINEMA_WIDTH)]] = float;

using Few [[gnu::vector_size(4 * kFewLanes)]] = float;

template <class V = Vector>
inline V load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V>
inline void store(float* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}
template <class V = Vector>
inline V splat(float x) {
  return x - V{};
}
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// a * b + c, rounded once where the processor can. Where it is fused is said here and not left to
// the compiler (-ffp-contract=off): it would choose differently in each place that a transform is
// compiled into, and results would depend on which layers are asked for.
template <class V>
inline V multiply_add(V a, V b, V c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return _mm512_fmadd_ps(a, b, c);
#endif
#if defined(__FMA__)
  if constexpr (sizeof(V) == 32) return _mm256_fmadd_ps(a, b, c);
  if constexpr (sizeof(V) == 16) return _mm_fmadd_ps(a, b, c);
#elif defined(__ARM_NEON)
  if constexpr (sizeof(V) == 16) return vfmaq_f32(c, a, b);
#endif
  return a * b + c;
}
template <class V>
inline V multiply_add(float a, V b, V c) {
  return multiply_add(splat<V>(a), b, c);
}

constexpr int least(int a, int b) { return a < b ? a : b; }

// ---- One-dimensional transforms ---------------------------------------------------------------
//
// `four` is Toom-Cook's F(4, 3) with the points 0, a, -a, b, -b and infinity, a = sqrt(1/2) and
// b = sqrt(2). Measured over a grid of (a, b), points near these leave a third of the error of the
// usual 1 and 2 when nested along three axes.
//
// `pair` is Karatsuba's product for a map of two samples between zeros:
//     y0 = g1 x0 + g2 x1 = g1 (x0 + x1) + (g2 - g1) x1
//     y1 = g0 x0 + g1 x1 = g1 (x0 + x1) + (g0 - g1) x0

constexpr double kA = 0.70710678118654752440, kB = 1.41421356237309504880;
constexpr double kA2 = 0.5, kB2 = 2.0;  // squares

template <Transform kind> struct Sizes;
template <> struct Sizes<Transform::none> { static constexpr int window = 1, products = 1, outputs = 1; };
template <> struct Sizes<Transform::pair> { static constexpr int window = 2, products = 3, outputs = 2; };
template <> struct Sizes<Transform::four> { static constexpr int window = 6, products = 6, outputs = 4; };

template <Transform kind, class V>
[[gnu::always_inline]] inline void input_1d(const V* d, V* out) {
  if constexpr (kind == Transform::none) {
    out[0] = d[0];
  } else if constexpr (kind == Transform::pair) {
    out[0] = d[0] + d[1];
    out[1] = d[1];
    out[2] = d[0];
  } else {
    constexpr float a = kA, b = kB, a2 = kA2, b2 = kB2, sum = kA2 + kB2;  // a2 * b2 = 1
    const V even_a = multiply_add(-b2, d[2], d[4]), odd_a = multiply_add(-b2, d[1], d[3]);
    const V even_b = multiply_add(-a2, d[2], d[4]), odd_b = multiply_add(-a2, d[1], d[3]);
    out[0] = multiply_add(-sum, d[2], d[0] + d[4]);
    out[1] = multiply_add(a, odd_a, even_a);
    out[2] = multiply_add(-a, odd_a, even_a);
    out[3] = multiply_add(b, odd_b, even_b);
    out[4] = multiply_add(-b, odd_b, even_b);
    out[5] = multiply_add(-sum, d[3], d[1] + d[5]);
  }
}

template <Transform kind>
[[gnu::always_inline]] inline void output_1d(const Vector* p, Vector* y) {
  if constexpr (kind == Transform::none) {
    y[0] = p[0];
  } else if constexpr (kind == Transform::pair) {
    y[0] = p[0] + p[1];
    y[1] = p[0] + p[2];
  } else {
    constexpr float a = kA, b = kB, a2 = kA2, b2 = kB2, a3 = kA * kA2, b3 = kB * kB2;
    const Vector sum_a = p[1] + p[2], difference_a = p[1] - p[2];
    const Vector sum_b = p[3] + p[4], difference_b = p[3] - p[4];
    y[0] = p[0] + (sum_a + sum_b);
    y[1] = multiply_add(a, difference_a, b * difference_b);
    y[2] = multiply_add(a2, sum_a, b2 * sum_b);
    y[3] = multiply_add(a3, difference_a, multiply_add(b3, difference_b, p[5]));
  }
}

// function<kind>() for a kind that is known only when it runs.
template <class Function>
auto with_transform(Transform kind, Function function) {
  switch (kind) {
    case Transform::none: return function.template operator()<Transform::none>();
    case Transform::pair: return function.template operator()<Transform::pair>();
    default: return function.template operator()<Transform::four>();
  }
}

// Weights are transformed in double precision, once, eight outputs at a time: rows of the matrix G.
constexpr int kFilters = 8;
using Doubles [[gnu::vector_size(8 * kFilters)]] = double;

void weight_1d(Transform kind, const Doubles* g, int stride, Doubles* out, int out_stride) {
  if (kind == Transform::none) {
    out[0] = g[0];
    return;
  }
  const Doubles &g0 = g[0], &g1 = g[stride], &g2 = g[2 * stride];
  if (kind == Transform::pair) {
    out[0] = g1;
    out[out_stride] = g2 - g1;
    out[2 * out_stride] = g0 - g1;
    return;
  }
  // 1 / product of the differences between a point and the others
  constexpr double at_a = 1 / (2 * kA2 * (kA2 - kB2)), at_b = 1 / (2 * kB2 * (kB2 - kA2));
  const Doubles even_a = at_a * (g0 + kA2 * g2), odd_a = at_a * kA * g1;
  const Doubles even_b = at_b * (g0 + kB2 * g2), odd_b = at_b * kB * g1;
  out[0] = g0;
  out[1 * out_stride] = even_a + odd_a;
  out[2 * out_stride] = even_a - odd_a;
  out[3 * out_stride] = even_b + odd_b;
  out[4 * out_stride] = even_b - odd_b;
  out[5 * out_stride] = g2;
}

// ---- Weights ----------------------------------------------------------------------------------

// A piece of eight filters: taps along three axes -> products along three axes.
void transform_weights(const Convolution& c, const Doubles* taps, Doubles* products) {
  const Axis &t = c.time, &h = c.height, &w = c.width;
  Doubles rows[3 * 3 * 6], planes[3 * 6 * 6];  // at most
  for (int i = 0; i < t.taps * h.taps; ++i)
    weight_1d(w.transform, taps + i * w.taps, 1, rows + i * w.products, 1);
  for (int i = 0; i < t.taps; ++i)
    for (int k = 0; k < w.products; ++k)
      weight_1d(h.transform, rows + i * h.taps * w.products + k, w.products,
                planes + i * h.products * w.products + k, w.products);
  const int plane = h.products * w.products;
  for (int k = 0; k < plane; ++k)
    weight_1d(t.transform, planes + k, plane, products + k, plane);
}

// Weights that are no more than rearranged: those of fully connected layers.
void pack_single(const Convolution& c, const float* weights, int columns, const int* column,
                 int panel, float* packed) {
  constexpr int kTogether = 64;  // so that both sides stay in a cache
  const int depth = c.depth();
  for (int first = 0; first < depth; first += kTogether) {
    const int last = least(first + kTogether, depth);
    for (int lane = 0; lane < kPanel; ++lane) {
      const int out = panel * kPanel + lane;
      const float* row = weights + std::ptrdiff_t(out) * columns;
      for (int k = first; k < last; ++k)
        packed[std::ptrdiff_t(k) * kPanel + lane] =
            out < c.out_channels && column[k] >= 0 ? row[column[k]] : 0.0f;
    }
  }
}

void pack(const Convolution& c, const float* weights, int columns, const int* column, int panel,
          float* packed) {
  const Axis &t = c.time, &h = c.height, &w = c.width;
  const int products = c.products(), depth = c.depth(), channels = c.input.channels;
  const std::ptrdiff_t all_taps = std::ptrdiff_t(c.kernel[0]) * c.kernel[1] * c.kernel[2];
  if (all_taps == 1) return pack_single(c, weights, columns, column, panel, packed);
  const std::ptrdiff_t filter = columns * all_taps;
  const int last[3] = {c.kernel[0] - t.skipped, c.kernel[1] - h.skipped, c.kernel[2] - w.skipped};
  for (int lane = 0; lane < kPanel; lane += kFilters) {
    const int out = panel * kPanel + lane, filters = least(kFilters, c.out_channels - out);
    int k = 0;
    for (int pt = 0; pt < t.pieces; ++pt)
      for (int ph = 0; ph < h.pieces; ++ph)
        for (int pw = 0; pw < w.pieces; ++pw)
          for (int channel = 0; channel < channels; ++channel, ++k) {
            Doubles taps[3 * 3 * 3] = {}, values[6 * 6 * 6];
            const float* from = weights + out * filter + column[channel] * all_taps;
            for (int i = 0; i < t.taps; ++i)
              for (int j = 0; j < h.taps; ++j)
                for (int l = 0; l < w.taps; ++l) {
                  const int z = t.skipped + pt * t.taps + i, y = h.skipped + ph * h.taps + j,
                            x = w.skipped + pw * w.taps + l;
                  if (z >= last[0] || y >= last[1] || x >= last[2]) continue;
                  const float* tap = from + (std::ptrdiff_t(z) * c.kernel[1] + y) * c.kernel[2] + x;
                  Doubles& to = taps[(i * h.taps + j) * w.taps + l];
                  for (int f = 0; f < filters; ++f) to[f] = tap[f * filter];
                }
            transform_weights(c, taps, values);
            float* to = packed + std::ptrdiff_t(k) * kPanel + lane;
            for (int p = 0; p < products; ++p, to += std::ptrdiff_t(depth) * kPanel)
              for (int f = 0; f < kFilters; ++f) to[f] = float(values[p][f]);
          }
  }
}

// ---- Input ------------------------------------------------------------------------------------

// One frame of one tile: window_h x window_w samples -> products_h x products_w vectors.
template <class V, Transform KH, Transform KW>
[[gnu::always_inline]] inline void input_frame(const float* frame, int y0, int x0, int height,
                                               int width, int lanes, bool prefetch, float* plane) {
  using H = Sizes<KH>;
  using W = Sizes<KW>;
  constexpr int kWidth = sizeof(V) / sizeof(float);
  V rows[H::window][W::products];
  for (int i = 0; i < H::window; ++i) {
    const int y = y0 + i;
    V d[W::window];
    if (unsigned(y) < unsigned(height)) {
      const float* line = frame + (std::ptrdiff_t(y) * width + x0) * lanes;
#pragma GCC unroll 8
      for (int j = 0; j < W::window; ++j)
        d[j] = unsigned(x0 + j) < unsigned(width) ? load<V>(line + j * lanes) : V{};
      // The next tile's samples: they come too far apart for the processor to foresee.
      if (prefetch)
#pragma GCC unroll 8
        for (int j = 0; j < W::outputs; ++j)
          __builtin_prefetch(line + (W::window + j) * lanes, 0, 2);
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < W::window; ++j) d[j] = V{};
    }
    input_1d<KW>(d, rows[i]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < W::products; ++j) {
    V d[H::window], out[H::products];
#pragma GCC unroll 8
    for (int i = 0; i < H::window; ++i) d[i] = rows[i][j];
    input_1d<KH>(d, out);
#pragma GCC unroll 8
    for (int i = 0; i < H::products; ++i) store(plane + (i * W::products + j) * kWidth, out[i]);
  }
}

template <class V, Transform KH, Transform KW>
void input_frames(const float* clip, int y0, int x0, const Shape& shape, int lanes, bool prefetch,
                  float* planes) {
  const std::ptrdiff_t frame = std::ptrdiff_t(shape.height) * shape.width * lanes;
  constexpr int plane = Sizes<KH>::products * Sizes<KW>::products * (sizeof(V) / sizeof(float));
  for (int t = 0; t < shape.time; ++t)
    input_frame<V, KH, KW>(clip + t * frame, y0, x0, shape.height, shape.width, lanes, prefetch,
                           planes + t * plane);
}

// Frames that are transformed over height and width -> all time tiles of one piece.
template <class V, Transform KT>
void input_times(const float* planes, int plane, const Axis& time, int piece, int lanes, float* out,
                 std::ptrdiff_t product_stride) {
  using T = Sizes<KT>;
  constexpr int kWidth = sizeof(V) / sizeof(float);
  // All tiles of a position one after the other: their rows are neighbours.
  for (int k = 0; k < plane; ++k, planes += kWidth, out += product_stride) {
    for (int tile = 0; tile < time.tiles; ++tile) {
      const int first = time.start(tile, piece);
      V d[T::window], products[T::products];
#pragma GCC unroll 8
      for (int i = 0; i < T::window; ++i)
        d[i] = unsigned(first + i) < unsigned(time.size)
                   ? load<V>(planes + std::ptrdiff_t(first + i) * plane * kWidth)
                   : V{};
      input_1d<KT>(d, products);
      float* to = out + tile * lanes;
#pragma GCC unroll 8
      for (int i = 0; i < T::products; ++i)
        store(to + std::ptrdiff_t(i) * plane * product_stride, products[i]);
    }
  }
}

template <class V>
void transform_input_by(const Convolution& c, const float* input, int area, int areas, int block,
                        Transformed transformed, int row, float* scratch) {
  const Axis &t = c.time, &h = c.height, &w = c.width;
  const auto frames = with_transform(h.transform, [&]<Transform KH>() {
    return with_transform(w.transform, []<Transform KW>() { return &input_frames<V, KH, KW>; });
  });
  const auto times =
      with_transform(t.transform, []<Transform KT>() { return &input_times<V, KT>; });
  const int blocks = c.blocks(), plane = h.products * w.products;
  const std::ptrdiff_t block_floats = std::ptrdiff_t(c.input.samples()) * c.lanes;
  for (int i = 0; i < areas; ++i, row += t.tiles) {
    const int clip = (area + i) / c.areas(), tile = (area + i) % c.areas();
    const int tile_y = tile / w.tiles, tile_x = tile % w.tiles;
    const float* from = input + (std::ptrdiff_t(clip) * blocks + block) * block_floats;
    for (int lane = 0; lane < c.lanes; lane += sizeof(V) / sizeof(float)) {
      for (int ph = 0; ph < h.pieces; ++ph)
        for (int pw = 0; pw < w.pieces; ++pw) {
          frames(from + lane, h.start(tile_y, ph), w.start(tile_x, pw), c.input, c.lanes,
                 lane == 0, scratch);
          for (int pt = 0; pt < t.pieces; ++pt) {
            const int piece = ((pt * h.pieces + ph) * w.pieces + pw) * blocks + block;
            float* to = transformed.data +
                        (std::ptrdiff_t(piece) * transformed.rows + row) * c.lanes + lane;
            times(scratch, plane, t, pt, c.lanes, to, transformed.product_stride);
          }
        }
    }
  }
}

void transform_input(const Convolution& c, const float* input, int area, int areas, int block,
                     Transformed transformed, int row, float* scratch) {
  const auto transform = c.lanes == kLanes ? transform_input_by<Vector> : transform_input_by<Few>;
  transform(c, input, area, areas, block, transformed, row, scratch);
}

// ---- Matrix products --------------------------------------------------------------------------

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
      float* out = products.data + p * products.product_stride +
                   std::ptrdiff_t(panel) * rows * kPanel;
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

// ---- Output -----------------------------------------------------------------------------------

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
    for (int j = 0; j < W::products; ++j) p[j] = load(from + (i * W::products + j) * product_stride);
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
};

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

// The common windows are compiled in.
template <Transform KT>
void output_times(const Tile& tile) {
  const int t = tile.window[0], y = tile.window[1], x = tile.window[2];
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
                      float* output) {
  const Axis* axes[3] = {&c.time, &c.height, &c.width};
  const auto plane_of = with_transform(c.height.transform, [&]<Transform KH>() {
    return with_transform(c.width.transform, []<Transform KW>() { return &output_plane<KH, KW>; });
  });
  using OutputTimes = void (*)(const Tile&);
  const auto times = with_transform(
      c.time.transform, []<Transform KT>() -> OutputTimes { return output_times<KT>; });
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
          tile.to = output +
                    (std::ptrdiff_t(clip) * out_blocks + channel / kLanes) * block_floats + offset +
                    channel % kLanes;
          times(tile);
        }
    }
  }
}

// ---- Pooling ----------------------------------------------------------------------------------

void pool(const Pooling& pooling, const float* input, float* output, int first, int last) {
  const Shape& shape = pooling.input;
  const int sizes[3] = {shape.time, shape.height, shape.width};
  const std::ptrdiff_t in_floats = std::ptrdiff_t(shape.samples()) * kLanes;
  const std::ptrdiff_t out_floats =
      std::ptrdiff_t(pooling.sizes[0]) * pooling.sizes[1] * pooling.sizes[2] * kLanes;
  for (int plane = first; plane < last; ++plane) {
    const float* from = input + plane * in_floats;
    float* to = output + plane * out_floats;
    int at[3];
    for (at[0] = 0; at[0] < pooling.sizes[0]; ++at[0])
      for (at[1] = 0; at[1] < pooling.sizes[1]; ++at[1])
        for (at[2] = 0; at[2] < pooling.sizes[2]; ++at[2], to += kLanes) {
          int start[3], stop[3];
          for (int i = 0; i < 3; ++i) {
            start[i] = at[i] * pooling.kernel[i] - pooling.padding[i];
            stop[i] = least(start[i] + pooling.kernel[i], sizes[i]);
            if (start[i] < 0) start[i] = 0;
          }
          for (int lane = 0; lane < kLanes; lane += kWidth) {
            Vector value = splat(-INFINITY);
            for (int t = start[0]; t < stop[0]; ++t)
              for (int y = start[1]; y < stop[1]; ++y)
                for (int x = start[2]; x < stop[2]; ++x)
                  value = larger(
                      load(from +
                           ((std::ptrdiff_t(t) * sizes[1] + y) * sizes[2] + x) * kLanes + lane),
                      value);
            store(to + lane, value);
          }
        }
  }
}

}  // namespace

#define KINEMA_JOIN_(a, b) a##b
#define KINEMA_JOIN(a, b) KINEMA_JOIN_(a, b)
#define KINEMA_TEXT_(target) #target
#define KINEMA_TEXT(target) KINEMA_TEXT_(target)

extern const Kernels KINEMA_JOIN(kernels_, KINEMA_TARGET) = {
    KINEMA_TEXT(KINEMA_TARGET), kPanel, pack, transform_input, multiply, transform_output, pool,
};

}  // namespace kinema
