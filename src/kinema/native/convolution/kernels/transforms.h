// The one-dimensional transforms of inputs, outputs and their gradients.
//
// `four` is Toom-Cook's F(4, 3) with the points 0, a, -a, b, -b and infinity, a = sqrt(1/2) and
// b = sqrt(2). Measured over a grid of (a, b), points near these leave a third of the error of the
// usual 1 and 2 when nested along three axes.
//
// `pair` is Karatsuba's product for a map of two samples between zeros:
//     y0 = g1 x0 + g2 x1 = g1 (x0 + x1) + (g2 - g1) x1
//     y1 = g0 x0 + g1 x1 = g1 (x0 + x1) + (g0 - g1) x0
#pragma once

#include "convolution/plan.h"
#include "support/vectors.h"

namespace kinema::convolution {
namespace {

constexpr double kA = 0.70710678118654752440, kB = 1.41421356237309504880;
constexpr double kA2 = 0.5, kB2 = 2.0;  // squares

template <Transform kind>
struct Sizes;
template <>
struct Sizes<Transform::none> {
  static constexpr int window = 1, products = 1, outputs = 1;
};
template <>
struct Sizes<Transform::pair> {
  static constexpr int window = 2, products = 3, outputs = 2;
};
template <>
struct Sizes<Transform::four> {
  static constexpr int window = 6, products = 6, outputs = 4;
};

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

// function<kind>() for a kind that is known only when it runs.
template <class Function>
auto with_transform(Transform kind, Function function) {
  switch (kind) {
    case Transform::none: return function.template operator()<Transform::none>();
    case Transform::pair: return function.template operator()<Transform::pair>();
    default: return function.template operator()<Transform::four>();
  }
}

}  // namespace
}  // namespace kinema::convolution
