// The flow of Brox et al. 2004 on a CPU. src/kinema/flow/brox.py says what is minimised, and gives
// the constants.
#pragma once

#include <cstddef>

namespace kinema::flow {

constexpr int kMostScales = 100;
constexpr int kMostTaps = 64;

// Taps of a Gaussian: the middle one and those on one side.
struct Taps {
  int count;
  float values[kMostTaps];
};

struct Scale {
  int height, width;
};

struct Settings {
  int num_scales;  // the finest first
  Scale scales[kMostScales];
  Taps presmoothing, shrinking;
  float alpha, gamma, nu, omega, epsilon;
  int warps, inner, sweeps_a_check, most_sweeps;
  double tolerance;
};

// Floats of a row of an image in memory, with room for a pixel beside it on each side; the first
// pixel lies at kMargin.
constexpr int kMargin = 16;
constexpr std::ptrdiff_t row_pitch(int width) { return (width + 15) / 16 * 16 + 2 * kMargin; }

// What a scale is solved in: images, values of each colour's pixels, rows, values of a pixel of the
// second image; and places in a row of a colour, whole vectors.
constexpr int kPlanes = 6, kColourPlanes = 9, kLines = 32, kChannels = 8;
constexpr int places_of(int width) { return (width + 31) / 32 * 16; }

// Floats that one pair of images needs.
std::size_t floats_needed(const Settings& settings);

// What each processor's build of kernels.cpp offers.
struct Kernels {
  const char* name;
  // `first` and `second` (height, width) of the finest scale, `flow` (height, width, 2). `memory`
  // is aligned to cache lines and holds floats_needed(settings).
  void (*solve)(const float* first, const float* second, const Settings& settings, float* flow,
                float* memory);
};

}  // namespace kinema::flow
