// Farneback's polynomial expansion: each pixel's neighbourhood as a quadratic polynomial, by
// weighted least squares.
#pragma once

#include "support/vectors.h"
#include "trajectories/kernels.h"

namespace kinema::trajectories {
namespace {

constexpr int kReach = 7;  // pixels to each side

// Weights of the neighbours, times 1, x, x^2; and the entries of the inverse of their products'
// sums that the least squares need.
struct Fit {
  float weight[kReach + 1], x[kReach + 1], xx[kReach + 1];
  float linear, constant_square, square, mixed;

  Fit() {
    constexpr double kSigma = 1.5;
    double g[kReach + 1], sum = 0;
    for (int i = 0; i <= kReach; ++i) {
      g[i] = __builtin_exp(-i * i / (2 * kSigma * kSigma));
      sum += i ? 2 * g[i] : g[i];
    }
    // Sums of weight * x^2 and weight * x^4; over two axes they multiply.
    double second = 0, fourth = 0;
    for (int i = 0; i <= kReach; ++i) {
      g[i] /= sum;
      weight[i] = float(g[i]);
      x[i] = float(i * g[i]);
      xx[i] = float(i * i * g[i]);
      second += 2 * g[i] * i * i;
      fourth += 2 * g[i] * i * i * i * i;
    }
    // Over 1, x^2, y^2 the products' sums are [1 a a; a b c; a c b] with c = a * a.
    const double a = second, b = fourth, c = second * second;
    linear = float(1 / a);
    constant_square = float(-a / (b + c - 2 * a * a));
    square = float(1 / (b - c));
    mixed = float(1 / c);
  }
};

void expand(const float* image, const Level& level, Expansion expansion, float* scratch) {
  static const Fit fit;
  const int width = level.width, height = level.height;
  const std::ptrdiff_t step = padded(level), plane = level.stride * height;
  float* rows[3];  // sums along y, of weights times 1, y, y^2
  for (int i = 0; i < 3; ++i) rows[i] = scratch + i * step + kPad;
  for (int y = 0; y < height; ++y) {
    const float* near[2 * kReach + 1];
    for (int i = -kReach; i <= kReach; ++i) {
      const int at = y + i < 0 ? 0 : least(y + i, height - 1);
      near[i + kReach] = image + at * level.stride;
    }
    for (int x = 0; x < width; x += kWidth) {
      Vector constant = fit.weight[0] * load(near[kReach] + x), linear{}, square{};
      for (int i = 1; i <= kReach; ++i) {
        const Vector above = load(near[kReach - i] + x), below = load(near[kReach + i] + x);
        constant = multiply_add(fit.weight[i], above + below, constant);
        linear = multiply_add(fit.x[i], below - above, linear);
        square = multiply_add(fit.xx[i], above + below, square);
      }
      store(rows[0] + x, constant);
      store(rows[1] + x, linear);
      store(rows[2] + x, square);
    }
    for (float* row : rows)
      for (int i = 1; i <= kReach; ++i) {
        row[-i] = row[0];
        row[width - 1 + i] = row[width - 1];
      }
    float* to[kCoefficients];
    for (int i = 0; i < kCoefficients; ++i) to[i] = expansion.planes + i * plane + y * level.stride;
    for (int x = 0; x < width; x += kWidth) {
      const Vector middle = load(rows[0] + x);
      Vector constant = fit.weight[0] * middle, dx{}, dxx{}, dy = fit.weight[0] * load(rows[1] + x);
      Vector dyy = fit.weight[0] * load(rows[2] + x), dxy{};
      for (int i = 1; i <= kReach; ++i) {
        const Vector left = load(rows[0] + x - i), right = load(rows[0] + x + i);
        constant = multiply_add(fit.weight[i], right + left, constant);
        dxx = multiply_add(fit.xx[i], right + left, dxx);
        dx = multiply_add(fit.x[i], right - left, dx);
        const Vector up = load(rows[1] + x - i), down = load(rows[1] + x + i);
        dy = multiply_add(fit.weight[i], down + up, dy);
        dxy = multiply_add(fit.x[i], down - up, dxy);
        dyy = multiply_add(fit.weight[i], load(rows[2] + x + i) + load(rows[2] + x - i), dyy);
      }
      const Vector level_part = fit.constant_square * constant;
      store(to[0] + x, dx * fit.linear);
      store(to[1] + x, dy * fit.linear);
      store(to[2] + x, multiply_add(fit.square, dxx, level_part));
      store(to[3] + x, multiply_add(fit.square, dyy, level_part));
      store(to[4] + x, dxy * fit.mixed);
    }
    float* pixel = expansion.pixels + std::ptrdiff_t(y) * width * kCoefficients;
    int x = 0;
    for (; x + 4 <= width; x += 4) {
      Four a = load<Four>(to[0] + x), b = load<Four>(to[1] + x);
      Four c = load<Four>(to[2] + x), d = load<Four>(to[3] + x);
      transpose(a, b, c, d);
      const Four pixels[4] = {a, b, c, d};
      for (int i = 0; i < 4; ++i, pixel += kCoefficients) {
        store(pixel, pixels[i]);
        pixel[4] = to[4][x + i];
      }
    }
    for (; x < width; ++x)
      for (int i = 0; i < kCoefficients; ++i) *pixel++ = to[i][x];
  }
}

}  // namespace
}  // namespace kinema::trajectories
