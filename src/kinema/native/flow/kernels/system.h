// The linear system of a warp, and its relaxation on one thread.
//
// A row's pixels of each colour lie together: pixel (i, j) is red where i + j is even and stands at
// place j / 2 of its row. What is left and right of place k are, in the other colour's row, the
// places k - 1 + s and k + s, where s is 0 in red's even rows and black's odd ones, else 1.
#pragma once

#include "flow/brox.h"
#include "flow/kernels/images.h"
#include "support/vectors.h"

namespace kinema::flow {
namespace {

struct Colour {
  Plane u, v;  // the increment
  Plane constant_u, constant_v, factor_u, factor_v, coupling;
  Plane right, down;  // weights of the neighbours there
};
// In the order in which a row's equations are written.
constexpr Plane Colour::*kColourMembers[kColourPlanes] = {
    &Colour::constant_u, &Colour::constant_v, &Colour::factor_u,
    &Colour::factor_v,   &Colour::coupling,   &Colour::right,
    &Colour::down,       &Colour::u,          &Colour::v};

struct System {
  Colour colours[2];
  int height, places;  // places: of a row, whole vectors
  float omega;
};

// Relaxes one row of a colour; returns the sum of its squared changes, lane by lane.
template <bool kMeasured>
inline Vector relax_row(const System& system, int colour, int row) {
  const Colour &own = system.colours[colour], &other = system.colours[1 - colour];
  const int s = (row + colour) & 1;
  float *u = own.u.row(row), *v = own.v.row(row);
  const float *beside_u = other.u.row(row) + s, *beside_v = other.v.row(row) + s;
  const float *above_u = other.u.row(row - 1), *above_v = other.v.row(row - 1);
  const float *below_u = other.u.row(row + 1), *below_v = other.v.row(row + 1);
  const float *constant_u = own.constant_u.row(row), *constant_v = own.constant_v.row(row);
  const float *factor_u = own.factor_u.row(row), *factor_v = own.factor_v.row(row);
  const float* coupling = own.coupling.row(row);
  const float *right = own.right.row(row), *down = own.down.row(row);
  const float *left = other.right.row(row) + s - 1, *up = other.down.row(row - 1);
  const Vector kept = splat(1 - system.omega);
  Vector moved{};
  for (int k = 0; k < system.places; k += kWidth) {
    const Vector r = load(right + k), l = load(left + k), d = load(down + k), a = load(up + k);
    Vector sum_u = multiply_add(r, load(beside_u + k), load(constant_u + k));
    Vector sum_v = multiply_add(r, load(beside_v + k), load(constant_v + k));
    sum_u = multiply_add(l, load(beside_u + k - 1), sum_u);
    sum_v = multiply_add(l, load(beside_v + k - 1), sum_v);
    sum_u = multiply_add(d, load(below_u + k), sum_u);
    sum_v = multiply_add(d, load(below_v + k), sum_v);
    sum_u = multiply_add(a, load(above_u + k), sum_u);
    sum_v = multiply_add(a, load(above_v + k), sum_v);
    const Vector c = load(coupling + k), old_u = load(u + k), old_v = load(v + k);
    sum_u = multiply_add(-c, old_v, sum_u);
    const Vector new_u = multiply_add(sum_u, load(factor_u + k), kept * old_u);
    sum_v = multiply_add(-c, new_u, sum_v);
    const Vector new_v = multiply_add(sum_v, load(factor_v + k), kept * old_v);
    store(u + k, new_u);
    store(v + k, new_v);
    if constexpr (kMeasured) {
      const Vector change_u = new_u - old_u, change_v = new_v - old_v;
      moved = multiply_add(change_u, change_u, moved);
      moved = multiply_add(change_v, change_v, moved);
    }
  }
  return moved;
}

// Some sweeps in one walk down the image: each half sweep follows the one before it by a row, so
// that few rows are in use at once. Returns the sum of the squared changes of the last sweep.
inline double relax(const System& system, int sweeps) {
  double moved = 0;
  const int halves = 2 * sweeps;
  for (int step = 0; step < system.height + halves - 1; ++step)
    for (int half = 0; half < halves; ++half) {
      const int row = step - half;
      if (row < 0 || row >= system.height) continue;
      if (half < halves - 2) {
        relax_row<false>(system, half & 1, row);
        continue;
      }
      const Vector changes = relax_row<true>(system, half & 1, row);
      float sum = 0;
      for (int lane = 0; lane < kWidth; ++lane) sum += changes[lane];
      moved += double(sum);
    }
  return moved;
}

}  // namespace
}  // namespace kinema::flow
