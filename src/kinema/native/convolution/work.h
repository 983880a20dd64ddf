// What the threads of a team do together in one layer, and the memory that they do it in.
#pragma once

#include <cstddef>

#include "convolution/kernels.h"
#include "support/memory.h"
#include "support/threads.h"

namespace kinema::convolution {

// Seconds of all threads together.
struct Profile {
  double input = 0, multiply = 0, output = 0, other = 0;

  void add(const Profile& more) {
    input += more.input;
    multiply += more.multiply;
    output += more.output;
    other += more.other;
  }
};

// Floats that `Work::convolve` needs.
struct Workspace {
  std::size_t transformed = 0, products = 0, scratch = 0;  // of each thread
  std::size_t team = 0;                                    // of all together

  void cover(const Convolution& convolution, int panel, int clips, int threads);
  std::size_t own() const { return rounded(products) + rounded(scratch); }
  std::size_t floats(int threads) const {
    const std::size_t private_floats = threads * transformed;
    return threads * own() + (team > private_floats ? team : private_floats);
  }
};

// One thread's part in layers that its whole team works on: all threads call the same functions.
struct Work {
  const Kernels& kernels;
  Team& team;
  int thread;
  float* transformed;         // of the team
  float *products, *scratch;  // of this thread
  std::size_t transformed_floats;
  int clips;
  Profile profile = {};

  Work(const Kernels& kernels, Team& team, int thread, int threads, const Workspace& needs,
       float* workspace)
      : kernels(kernels),
        team(team),
        thread(thread),
        transformed(workspace + threads * needs.own()),
        products(workspace + thread * needs.own()),
        scratch(products + rounded(needs.products)),
        transformed_floats(needs.transformed),
        clips(0) {}

  // (channels, time, height, width) -> [block][time][height][width][lanes].
  void read_clips(const Shape& shape, int lanes, const float* data, float* activation);
  void write_output(const Shape& shape, const float* activation, float* output);

  // `winners`, where they are asked for: see Kernels::transform_output.
  void convolve(const Convolution& convolution, const Pooling* pooling, const float* packed,
                const float* bias, const float* input, float* output,
                unsigned char* winners = nullptr);
  void pool(const Pooling& pooling, const float* input, float* output);

  Transformed transformed_of(const Convolution& c, float* data, int rows) const {
    return {data, odd_lines(std::size_t(c.pieces()) * c.blocks() * rows * c.lanes), rows};
  }
};

}  // namespace kinema::convolution
