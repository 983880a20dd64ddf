// Which algorithm computes a convolution: the one place where it is chosen.
//
// Every convolution is separable Winograd convolution: along each axis (time, height, width) the
// output is cut into tiles of `outputs` samples, each computed from a `window` of input samples
// with `products` multiplications instead of outputs * taps. What is left of the arithmetic is, for
// each of the products of the three axes, one matrix product (tiles x channels) . (channels x
// outputs), which is where the time goes.
//
//     transform   window  products  outputs  taps   used where
//     none           1        1         1      1    the kernel has one tap along this axis
//     pair           2        3         2      3    the map has two samples along this axis
//     four           6        6         4      3    everywhere else
//
// 3x3x3 with `four` along each axis takes 216 products for 64 outputs: 3.4 instead of 27 each.
// A longer kernel is cut into pieces of three taps; their products are summed inside the matrix
// product (its inner dimension is pieces * channels). Taps that would only ever meet the zeros
// around the map are left out.
#pragma once

#include <cstddef>

namespace kinema::convolution {

// Activations are float32 [clip][channel block][time][height][width][kLanes], channels padded with
// zeros to whole blocks, whatever the vector width of the processor.
constexpr int kLanes = 16;
// Only clips themselves, with their few channels, are in blocks of four.
constexpr int kFewLanes = 4;

constexpr int blocks_of(int channels, int lanes = kLanes) { return (channels + lanes - 1) / lanes; }

enum class Transform { none, pair, four };

struct Axis {
  Transform transform;
  int size;                             // samples of the map, in and out
  int window, products, outputs, taps;  // of one tile and one piece, see the table above
  int tiles;                            // that cover the map
  int pieces;                           // of the kernel
  int skipped;  // taps at either end of the kernel that only ever meet padding
  int first;    // input sample at which the window of tile 0 and piece 0 starts

  int start(int tile, int piece) const { return first + tile * outputs + piece * taps; }
};

Axis plan_axis(int size, int kernel);

struct Shape {
  int channels, time, height, width;

  std::size_t samples() const { return std::size_t(time) * height * width; }
  // Of one clip, without the padding of blocks.
  std::size_t values() const { return channels * samples(); }
  // Floats of one clip's activation.
  std::size_t floats(int lanes = kLanes) const {
    return std::size_t(blocks_of(channels, lanes)) * samples() * lanes;
  }
};

// A convolution of stride 1 with zero padding of half a kernel, its bias and, if asked, ReLU.
struct Convolution {
  Shape input;
  int lanes;  // of the input's blocks
  int out_channels;
  int kernel[3];
  bool relu;
  Axis time, height, width;

  int products() const { return time.products * height.products * width.products; }
  int pieces() const { return time.pieces * height.pieces * width.pieces; }
  // Inner dimension of the matrix products.
  int depth() const { return pieces() * input.channels; }
  std::size_t panel_floats(int panel) const { return std::size_t(products()) * depth() * panel; }
  std::size_t packed_bytes(int panel) const {
    return sizeof(float) * panel_floats(panel) * panels(panel);
  }
  int blocks() const { return blocks_of(input.channels, lanes); }
  // Panels of output channels: together they cover the output's whole blocks.
  int panels(int panel) const { return (blocks_of(out_channels) * kLanes + panel - 1) / panel; }
  // Tiles over height and width; each has all tiles over time, the rows of the matrix products.
  int areas() const { return height.tiles * width.tiles; }
};

Convolution plan_convolution(Shape input, int lanes, int out_channels, const int kernel[3],
                             bool relu);

// Max pooling of stride `kernel`; the first window starts `padding` before the map. Windows are
// clipped at the edges.
struct Pooling {
  Shape input;
  int kernel[3];
  int padding[3];
  int sizes[3];  // of the output

  Shape output() const { return {input.channels, sizes[0], sizes[1], sizes[2]}; }
};

// Whether the windows lie inside the convolution's tiles, so that the unpooled map need not exist.
bool can_fuse(const Convolution& convolution, const Pooling& pooling);

// How a convolution's rows and outputs are cut up so that what is used again lies in a cache.
//
// Rows are worked on in chunks of `areas` tiles of height and width (each with all its time tiles).
// For a chunk the transformed input is made first; then, for each group of `panels` panels of
// output channels, all products are computed and transformed back.
//   private: each thread takes whole chunks, small enough for its own cache, and reads all weights
//            for each: right where there are many tiles and the weights stay in the last cache;
//   shared:  all threads work on one chunk, and each takes a group of outputs for one of `parts`
//            parts of the rows: right where the weights are larger than any cache and should pass
//            through once.
struct Schedule {
  bool shared;
  int areas, panels, parts;

  // Areas of a part, the last of which may be smaller.
  int part_areas(int chunk_areas) const { return (chunk_areas + parts - 1) / parts; }
};

Schedule plan_schedule(const Convolution& convolution, int panel, int clips, int threads);

}  // namespace kinema::convolution
