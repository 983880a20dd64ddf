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
#elif defined(__SSE__)
#include <xmmintrin.h>
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
// Past the caches, for what is too large for them: memory is not read first.
inline void stream(float* p, Vector v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, v);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, v);
#elif defined(__SSE__)
  _mm_stream_ps(p, v);
#else
  store(p, v);
#endif
}
// What was streamed can be seen by other threads.
inline void end_streams() {
#if defined(__SSE__)
  _mm_sfence();
#endif
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

// The transpose of output_1d.
template <Transform kind, class V>
[[gnu::always_inline]] inline void gradient_1d(const V* y, V* p) {
  if constexpr (kind == Transform::none) {
    p[0] = y[0];
  } else if constexpr (kind == Transform::pair) {
    p[0] = y[0] + y[1];
    p[1] = y[0];
    p[2] = y[1];
  } else {
    constexpr float a = kA, b = kB, a2 = kA2, b2 = kB2;
    const V even_a = multiply_add(a2, y[2], y[0]), odd_a = multiply_add(a2, y[3], y[1]);
    const V even_b = multiply_add(b2, y[2], y[0]), odd_b = multiply_add(b2, y[3], y[1]);
    p[0] = y[0];
    p[1] = multiply_add(a, odd_a, even_a);
    p[2] = multiply_add(-a, odd_a, even_a);
    p[3] = multiply_add(b, odd_b, even_b);
    p[4] = multiply_add(-b, odd_b, even_b);
    p[5] = y[3];
  }
}

// What goes into the matrix products: samples of the input, or of the gradient to the output.
enum class Side { input, gradient };

template <Side side, Transform kind>
constexpr int kSamples = side == Side::input ? Sizes<kind>::window : Sizes<kind>::outputs;

template <Side side, Transform kind, class V>
[[gnu::always_inline]] inline void sample_1d(const V* d, V* out) {
  if constexpr (side == Side::input)
    input_1d<kind>(d, out);
  else
    gradient_1d<kind>(d, out);
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

// The windows of a pooling as they lie in a convolution's tiles: where the map has one sample, so
// has the tile.
inline void fused_window(const Pooling& pooling, int window[3]) {
  const int sizes[3] = {pooling.input.time, pooling.input.height, pooling.input.width};
  for (int i = 0; i < 3; ++i) window[i] = sizes[i] == 1 ? 1 : pooling.kernel[i];
}

// Weights are transformed in double precision, once, eight outputs at a time: rows of the matrix G.
constexpr int kFilters = 8;
using Doubles [[gnu::vector_size(8 * kFilters)]] = double;
using Floats [[gnu::vector_size(4 * kFilters)]] = float;

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

// The transpose of weight_1d.
void weight_gradient_1d(Transform kind, const Doubles* p, int stride, Doubles* g, int out_stride) {
  if (kind == Transform::none) {
    g[0] = p[0];
    return;
  }
  if (kind == Transform::pair) {
    g[0] = p[2 * stride];
    g[out_stride] = p[0] - p[stride] - p[2 * stride];
    g[2 * out_stride] = p[stride];
    return;
  }
  constexpr double at_a = 1 / (2 * kA2 * (kA2 - kB2)), at_b = 1 / (2 * kB2 * (kB2 - kA2));
  const Doubles sum_a = at_a * (p[stride] + p[2 * stride]);
  const Doubles difference_a = at_a * kA * (p[stride] - p[2 * stride]);
  const Doubles sum_b = at_b * (p[3 * stride] + p[4 * stride]);
  const Doubles difference_b = at_b * kB * (p[3 * stride] - p[4 * stride]);
  g[0] = p[0] + (sum_a + sum_b);
  g[out_stride] = difference_a + difference_b;
  g[2 * out_stride] = kA2 * sum_a + (kB2 * sum_b + p[5 * stride]);
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
void pack_single(const Convolution& c, const Weights& weights, int panel, float* packed) {
  const int* column = weights.column;
  constexpr int kTogether = 64;  // so that both sides stay in a cache
  const int depth = c.depth();
  for (int first = 0; first < depth; first += kTogether) {
    const int last = least(first + kTogether, depth);
    for (int lane = 0; lane < kPanel; ++lane) {
      const int out = panel * kPanel + lane;
      const float* row = weights.data + out * weights.out_stride;
      for (int k = first; k < last; ++k) {
        const int at = column ? column[k] : k;
        packed[std::ptrdiff_t(k) * kPanel + lane] =
            out < c.out_channels && at >= 0 ? row[at * weights.channel_stride] : 0.0f;
      }
    }
  }
}

// Where the taps of one piece of a kernel are among all of them, -1 for those beyond its end.
struct Piece {
  std::ptrdiff_t taps[3 * 3 * 3];

  Piece(const Convolution& c, int piece) {
    const Axis* axes[3] = {&c.time, &c.height, &c.width};
    int first[3];
    for (int i = 2; i >= 0; --i) {
      first[i] = axes[i]->skipped + piece % axes[i]->pieces * axes[i]->taps;
      piece /= axes[i]->pieces;
    }
    std::ptrdiff_t* tap = taps;
    for (int i = 0; i < c.time.taps; ++i)
      for (int j = 0; j < c.height.taps; ++j)
        for (int l = 0; l < c.width.taps; ++l) {
          const int at[3] = {first[0] + i, first[1] + j, first[2] + l};
          bool there = true;
          for (int axis = 0; axis < 3; ++axis)
            there &= at[axis] < c.kernel[axis] - axes[axis]->skipped;
          *tap++ = there ? (std::ptrdiff_t(at[0]) * c.kernel[1] + at[1]) * c.kernel[2] + at[2] : -1;
        }
  }
};

// More packed weights than this leave the caches before they are used.
constexpr std::size_t kStreamed = 8u << 20;

void pack(const Convolution& c, const Weights& weights, int panel, float* packed) {
  const int products = c.products(), depth = c.depth(), channels = c.input.channels;
  const int taps = c.time.taps * c.height.taps * c.width.taps;
  const std::ptrdiff_t all_taps = taps_of(c);
  if (all_taps == 1) return pack_single(c, weights, panel, packed);
  const std::ptrdiff_t filter = weights.out_stride;
  const bool streamed = c.packed_bytes(kPanel) > kStreamed;
  alignas(64) float all[6 * 6 * 6 * kPanel];  // of one channel
  int k = 0;
  for (int piece = 0; piece < c.pieces(); ++piece) {
    const Piece where(c, piece);
    for (int channel = 0; channel < channels; ++channel, ++k) {
      for (int lane = 0; lane < kPanel; lane += kFilters) {
        const int out = panel * kPanel + lane, filters = least(kFilters, c.out_channels - out);
        Doubles from[3 * 3 * 3] = {}, values[6 * 6 * 6];
        const float* const first = weights.data + out * filter + channel * weights.channel_stride;
        for (int i = 0; i < taps; ++i) {
          if (where.taps[i] < 0) continue;
          const float* tap =
              first + (weights.flipped ? all_taps - 1 - where.taps[i] : where.taps[i]);
          if (filters == kFilters)
#pragma GCC unroll 8
            for (int f = 0; f < kFilters; ++f) from[i][f] = tap[f * filter];
          else
            for (int f = 0; f < filters; ++f) from[i][f] = tap[f * filter];
        }
        transform_weights(c, from, values);
        for (int p = 0; p < products; ++p)
          store(all + p * kPanel + lane, __builtin_convertvector(values[p], Floats));
      }
      float* to = packed + std::ptrdiff_t(k) * kPanel;
      for (int p = 0; p < products; ++p, to += std::ptrdiff_t(depth) * kPanel)
        for (int lane = 0; lane < kPanel; lane += kWidth) {
          const Vector v = load(all + p * kPanel + lane);
          streamed ? stream(to + lane, v) : store(to + lane, v);
        }
    }
  }
  if (streamed) end_streams();
}

void transform_weight_gradient(const Convolution& c, const Doubles* products, Doubles* taps) {
  const Axis &t = c.time, &h = c.height, &w = c.width;
  Doubles rows[3 * 3 * 6], planes[3 * 6 * 6];  // at most
  const int plane = h.products * w.products;
  for (int k = 0; k < plane; ++k)
    weight_gradient_1d(t.transform, products + k, plane, planes + k, plane);
  for (int i = 0; i < t.taps; ++i)
    for (int k = 0; k < w.products; ++k)
      weight_gradient_1d(h.transform, planes + i * plane + k, w.products,
                         rows + i * h.taps * w.products + k, w.products);
  for (int i = 0; i < t.taps * h.taps; ++i)
    weight_gradient_1d(w.transform, rows + i * w.products, 1, taps + i * w.taps, 1);
}

void unpack(const Convolution& c, const float* sums, int panel, float* gradient) {
  const int products = c.products(), channels = c.input.channels;
  const int taps = c.time.taps * c.height.taps * c.width.taps;
  const std::ptrdiff_t all_taps = taps_of(c);
  const std::ptrdiff_t filter = channels * all_taps;
  const std::ptrdiff_t product_stride = std::ptrdiff_t(c.depth()) * kPanel;
  const int lanes = least(kPanel, c.out_channels - panel * kPanel);
  gradient += panel * kPanel * filter;
  if (c.time.skipped || c.height.skipped || c.width.skipped)
    for (std::ptrdiff_t i = 0; i < lanes * filter; ++i) gradient[i] = 0.0f;
  for (int piece = 0; piece < c.pieces(); ++piece) {
    const Piece where(c, piece);
    for (int channel = 0; channel < channels; ++channel, sums += kPanel) {
      // The next channel's: they come too far apart for the processor to foresee.
      for (int p = 0; p < products; ++p)
        for (int lane = 0; lane < kPanel; lane += kLanes)
          __builtin_prefetch(sums + p * product_stride + kPanel + lane);
      for (int lane = 0; lane < lanes; lane += kFilters) {
        Doubles to[3 * 3 * 3], values[6 * 6 * 6];
        for (int p = 0; p < products; ++p)
          values[p] = __builtin_convertvector(load<Floats>(sums + p * product_stride + lane),
                                              Doubles);
        transform_weight_gradient(c, values, to);
        float* const first = gradient + lane * filter + channel * all_taps;
        for (int i = 0; i < taps; ++i) {
          if (where.taps[i] < 0) continue;
          float* const tap = first + where.taps[i];
          const Floats value = __builtin_convertvector(to[i], Floats);
          for (int f = 0; f < least(kFilters, lanes - lane); ++f) tap[f * filter] = value[f];
        }
      }
    }
  }
}

// ---- Input ------------------------------------------------------------------------------------

// One frame of one tile: samples_h x samples_w -> products_h x products_w vectors.
template <class V, Side side, Transform KH, Transform KW>
[[gnu::always_inline]] inline void sample_frame(const float* frame, int y0, int x0, int height,
                                                int width, int lanes, bool prefetch, float* plane) {
  using H = Sizes<KH>;
  using W = Sizes<KW>;
  constexpr int kWidth = sizeof(V) / sizeof(float);
  constexpr int samples_h = kSamples<side, KH>, samples_w = kSamples<side, KW>;
  V rows[samples_h][W::products];
  for (int i = 0; i < samples_h; ++i) {
    const int y = y0 + i;
    V d[samples_w];
    if (unsigned(y) < unsigned(height)) {
      const float* line = frame + (std::ptrdiff_t(y) * width + x0) * lanes;
#pragma GCC unroll 8
      for (int j = 0; j < samples_w; ++j)
        d[j] = unsigned(x0 + j) < unsigned(width) ? load<V>(line + j * lanes) : V{};
      // The next tile's samples: they come too far apart for the processor to foresee.
      if (prefetch)
#pragma GCC unroll 8
        for (int j = 0; j < W::outputs; ++j)
          __builtin_prefetch(line + (samples_w + j) * lanes, 0, 2);
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < samples_w; ++j) d[j] = V{};
    }
    sample_1d<side, KW>(d, rows[i]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < W::products; ++j) {
    V d[samples_h], out[H::products];
#pragma GCC unroll 8
    for (int i = 0; i < samples_h; ++i) d[i] = rows[i][j];
    sample_1d<side, KH>(d, out);
#pragma GCC unroll 8
    for (int i = 0; i < H::products; ++i) store(plane + (i * W::products + j) * kWidth, out[i]);
  }
}

template <class V, Side side, Transform KH, Transform KW>
void sample_frames(const float* clip, int y0, int x0, const Shape& shape, int lanes, bool prefetch,
                   float* planes) {
  const std::ptrdiff_t frame = std::ptrdiff_t(shape.height) * shape.width * lanes;
  constexpr int plane = Sizes<KH>::products * Sizes<KW>::products * (sizeof(V) / sizeof(float));
  for (int t = 0; t < shape.time; ++t)
    sample_frame<V, side, KH, KW>(clip + t * frame, y0, x0, shape.height, shape.width, lanes,
                                  prefetch, planes + t * plane);
}

// Frames that are transformed over height and width -> all time tiles of one piece, whose rows are
// `row_floats` apart.
template <class V, Side side, Transform KT>
void sample_times(const float* planes, int plane, const Axis& time, int piece, int row_floats,
                  float* out, std::ptrdiff_t product_stride) {
  using T = Sizes<KT>;
  constexpr int kWidth = sizeof(V) / sizeof(float);
  constexpr int samples = kSamples<side, KT>;
  // All tiles of a position one after the other: their rows are neighbours.
  for (int k = 0; k < plane; ++k, planes += kWidth, out += product_stride) {
    for (int tile = 0; tile < time.tiles; ++tile) {
      const int first = side == Side::input ? time.start(tile, piece) : tile * time.outputs;
      V d[samples], products[T::products];
#pragma GCC unroll 8
      for (int i = 0; i < samples; ++i)
        d[i] = unsigned(first + i) < unsigned(time.size)
                   ? load<V>(planes + std::ptrdiff_t(first + i) * plane * kWidth)
                   : V{};
      sample_1d<side, KT>(d, products);
      float* to = out + tile * row_floats;
#pragma GCC unroll 8
      for (int i = 0; i < T::products; ++i)
        store(to + std::ptrdiff_t(i) * plane * product_stride, products[i]);
    }
  }
}

template <class V, Side side>
auto frames_of(const Convolution& c) {
  return with_transform(c.height.transform, [&]<Transform KH>() {
    return with_transform(c.width.transform,
                          []<Transform KW>() { return &sample_frames<V, side, KH, KW>; });
  });
}

template <class V, Side side>
auto times_of(const Convolution& c) {
  return with_transform(c.time.transform,
                        []<Transform KT>() { return &sample_times<V, side, KT>; });
}

template <class V>
void transform_input_by(const Convolution& c, const float* input, int area, int areas, int block,
                        Transformed transformed, int row, float* scratch) {
  const Axis &t = c.time, &h = c.height, &w = c.width;
  const auto frames = frames_of<V, Side::input>(c);
  const auto times = times_of<V, Side::input>(c);
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

using Integers [[gnu::vector_size(4 * KINEMA_WIDTH)]] = int;
using Bytes [[gnu::vector_size(KINEMA_WIDTH)]] = unsigned char;

// One byte for each lane. GCC's own conversions go lane by lane.
inline Integers load_places(const unsigned char* winners) {
#if defined(__AVX512F__)
  return Integers(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)winners)));
#elif defined(__AVX2__)
  return Integers(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)winners)));
#else
  Bytes bytes;
  __builtin_memcpy(&bytes, winners, sizeof bytes);
  return __builtin_convertvector(bytes, Integers);
#endif
}
inline void store_places(unsigned char* winners, Integers places) {
#if defined(__AVX512F__)
  _mm_storeu_si128((__m128i*)winners, _mm512_cvtepi32_epi8(__m512i(places)));
#elif defined(__AVX2__)
  const __m128i low = _mm256_castsi256_si128(__m256i(places));
  const __m128i words = _mm_packus_epi32(low, _mm256_extracti128_si256(__m256i(places), 1));
  _mm_storel_epi64((__m128i*)winners, _mm_packus_epi16(words, words));
#else
  const Bytes bytes = __builtin_convertvector(places, Bytes);
  __builtin_memcpy(winners, &bytes, sizeof bytes);
#endif
}

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
        const Integers p = here ? load_places(winners + at) - corner : Integers{};
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
        store_places(tile.winners + at, place);
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

void unpool(const Pooling& pooling, const float* gradient, const unsigned char* winners,
            float* unpooled, int first, int last) {
  const Shape& shape = pooling.input;
  const int sizes[3] = {shape.time, shape.height, shape.width};
  int window[3];
  fused_window(pooling, window);
  const std::ptrdiff_t in_floats = std::ptrdiff_t(shape.samples()) * kLanes;
  const std::ptrdiff_t out_floats = std::ptrdiff_t(pooling.output().samples()) * kLanes;
  for (int plane = first; plane < last; ++plane) {
    const float* from = gradient + plane * out_floats;
    const unsigned char* winner = winners + plane * out_floats;
    float* to = unpooled + plane * in_floats;
    int at[3];
    for (at[0] = 0; at[0] < pooling.sizes[0]; ++at[0])
      for (at[1] = 0; at[1] < pooling.sizes[1]; ++at[1])
        for (at[2] = 0; at[2] < pooling.sizes[2]; ++at[2], from += kLanes, winner += kLanes) {
          int start[3], stop[3];
          for (int i = 0; i < 3; ++i) {
            start[i] = at[i] * window[i];
            stop[i] = least(start[i] + window[i], sizes[i]);
          }
          for (int lane = 0; lane < kLanes; lane += kWidth) {
            const Vector value = load(from + lane);
            const Integers places = load_places(winner + lane);
            for (int t = start[0]; t < stop[0]; ++t)
              for (int y = start[1]; y < stop[1]; ++y)
                for (int x = start[2]; x < stop[2]; ++x) {
                  const int place =
                      ((t - start[0]) * window[1] + y - start[1]) * window[2] + x - start[2];
                  store(to + ((std::ptrdiff_t(t) * sizes[1] + y) * sizes[2] + x) * kLanes + lane,
                        places == place - Integers{} ? value : Vector{});
                }
          }
        }
  }
}

// ---- Layouts ----------------------------------------------------------------------------------

inline void transpose(Few& a, Few& b, Few& c, Few& d) {
#if defined(__SSE__)
  _MM_TRANSPOSE4_PS(a, b, c, d);
#elif defined(__ARM_NEON)
  const float32x4x2_t ab = vtrnq_f32(a, b), cd = vtrnq_f32(c, d);
  a = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
  b = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
  c = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
  d = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
#else
  const Few rows[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    a[i] = rows[i][0];
    b[i] = rows[i][1];
    c[i] = rows[i][2];
    d[i] = rows[i][3];
  }
#endif
}

void to_lanes(const float* from, const float* mask, std::ptrdiff_t channel_stride, int channels,
              int lanes, int samples, float* to) {
  const int whole = samples - samples % 4;
  // Few channels at a time: their samples often lie a power of two apart.
  for (int lane = 0; lane < lanes; lane += 4)
    for (int sample = 0; sample < whole; sample += 4) {
      Few rows[4] = {};
      for (int i = 0; i < least(4, channels - lane); ++i) {
        const std::ptrdiff_t at = (lane + i) * channel_stride + sample;
        rows[i] = load<Few>(from + at);
        if (mask) rows[i] = load<Few>(mask + at) <= 0.0f ? Few{} : rows[i];
      }
      transpose(rows[0], rows[1], rows[2], rows[3]);
      for (int i = 0; i < 4; ++i) store(to + (sample + i) * lanes + lane, rows[i]);
    }
  for (int sample = whole; sample < samples; ++sample)
    for (int lane = 0; lane < lanes; ++lane) {
      const std::ptrdiff_t at = lane * channel_stride + sample;
      const bool there = lane < channels && !(mask && mask[at] <= 0.0f);
      to[sample * lanes + lane] = there ? from[at] : 0.0f;
    }
}

void from_lanes(const float* from, int samples, int channels, std::ptrdiff_t channel_stride,
                float* to) {
  const int whole = samples - samples % 4;
  for (int lane = 0; lane < channels; lane += 4)
    for (int sample = 0; sample < whole; sample += 4) {
      Few rows[4];
      for (int i = 0; i < 4; ++i) rows[i] = load<Few>(from + (sample + i) * kLanes + lane);
      transpose(rows[0], rows[1], rows[2], rows[3]);
      for (int i = 0; i < least(4, channels - lane); ++i)
        store(to + (lane + i) * channel_stride + sample, rows[i]);
    }
  for (int sample = whole; sample < samples; ++sample)
    for (int lane = 0; lane < channels; ++lane)
      to[lane * channel_stride + sample] = from[sample * kLanes + lane];
}

void add_up(const float* from, int samples, double* sums) {
  for (int first = 0; first < samples; first += kSum) {
    const int last = least(first + kSum, samples);
    float some[kLanes] = {};
    for (int sample = first; sample < last; ++sample)
      for (int lane = 0; lane < kLanes; ++lane) some[lane] += from[sample * kLanes + lane];
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += some[lane];
  }
}

}  // namespace

#define KINEMA_JOIN_(a, b) a##b
#define KINEMA_JOIN(a, b) KINEMA_JOIN_(a, b)
#define KINEMA_TEXT_(target) #target
#define KINEMA_TEXT(target) KINEMA_TEXT_(target)

extern const Kernels KINEMA_JOIN(kernels_, KINEMA_TARGET) = {
    KINEMA_TEXT(KINEMA_TARGET), kPanel, pack, transform_input, multiply, transform_output, pool,
    unpool, transform_gradient, multiply_gradient, unpack, to_lanes, from_lanes, add_up,
};

}  // namespace kinema
