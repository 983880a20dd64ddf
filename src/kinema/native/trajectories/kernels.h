// What each processor's build of kernels.cpp offers. Every function works on one thread.
#pragma once

#include <string>

#include "trajectories/levels.h"

namespace kinema::trajectories {

using Byte = unsigned char;

constexpr int kCoefficients = 5;  // of a polynomial: of x, y, x^2, y^2, xy
constexpr int kBins = 8;          // of an orientation histogram
constexpr int kPad = 32;          // floats left and right of a row of scratch

// Each kernel may use so many rows of scratch.
constexpr int kScratchRows = 112;
static inline std::ptrdiff_t padded(const Level& level) { return level.stride + 2 * kPad; }

// Taps and Between as the kernels see them, which instantiate nothing of the standard library.
struct Line {
  const int* index;
  const float* weight;
  int count;
};
inline Line line(const Taps& taps) { return {taps.index.data(), taps.weight.data(), taps.count}; }
inline Line line(const Between& b) { return {b.index.data(), b.weight.data(), 1}; }

// The polynomials of an image: in planes, and pixel by pixel.
struct Expansion {
  float* planes;  // [coefficient][height][stride]
  float* pixels;  // [height][width][coefficient], and 8 floats more
};

struct Sums {
  float* bins;   // [height + 1][width + 1][kBins]
  float* still;  // [height + 1][width + 1], of flow alone
};

constexpr int kDescriptor = 128;  // values of a keypoint's descriptor

struct Keypoints {
  const float* points;       // [count][2]
  const float* descriptors;  // [count][kDescriptor]
  int count;
};

struct Kernels {
  const char* name;

  // An image, (height, width), half as large in area; rounded as OpenCV does.
  void (*shrink)(const Byte* from, int from_width, int from_height, Line x, Line y, const Level& to,
                 Byte* shrunk);

  // The frame as floats; and blurred and shrunk for a level.
  void (*to_floats)(const Byte* from, const Level&, float* plane);
  void (*blur)(const float* plane, const Level& frame, Line x, Line y, const Level& to,
               float* blurred, float* scratch);

  // Farneback's polynomial expansion: 15 taps, sigma 1.5.
  void (*expand)(const float* image, const Level&, Expansion, float* scratch);

  // One update of the flow (x and y planes) from `first` to `second`: `flow` becomes `updated`.
  void (*update)(const Level&, Expansion first, Expansion second, const float* const flow[2],
                 float* const updated[2], float* scratch);

  // Median of 5 x 5 pixels, the border's repeated.
  void (*median)(const float* plane, const Level&, float* result, float* scratch);

  // A coarser level's flow as a start: interpolated, times sqrt(2).
  void (*enlarge)(const float* plane, const Level& from, Line x, Line y, const Level& to,
                  float* result, float* scratch);

  // `second` as seen from the first frame: its pixel at `homography` times the place. Where that
  // comes within 5 pixels of its border, the pixel of `first`.
  void (*warp)(const Byte* first, const Byte* second, const Level&, const double homography[9],
               Byte* warped);

  // Smaller eigenvalue of the structure tensor (3 x 3 Sobel, 3 x 3 sum); returns the largest.
  float (*corners)(const Byte* image, const Level&, float* values, float* scratch);

  // Integral histograms of directions: of an image's or a plane's gradient, of flow.
  void (*sum_image)(const Byte* image, const Level&, Sums, float* scratch);
  void (*sum_gradient)(const float* plane, const Level&, Sums, float* scratch);
  void (*sum_flow)(const float* const flow[2], const Level&, Sums, float* scratch);

  // Adds the descriptor of the block at (x, y), 2 x 2 cells of histograms, L1-normalised and
  // square-rooted: 4 x 8 values, 4 x 9 where there is `still`.
  void (*add_block)(Sums, int width, int x, int y, float* descriptor);

  // The one of `others` whose descriptor is the most like `descriptor` (the first of several), of
  // those less than `window` away from (x, y) along both axes; -1 if there is none.
  int (*nearest)(float x, float y, const float* descriptor, Keypoints others, float window);
};

// The build of the kernels for one of targets().
const Kernels& kernels_of(const std::string& target);

}  // namespace kinema::trajectories
