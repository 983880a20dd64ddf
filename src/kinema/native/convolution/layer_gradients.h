// One convolution at a time, with weights that change from call to call, and its gradients.
//
// With the notation of plan.h a tile is y = A^T [(G g) o (B^T d)], summed over the channels of d.
// Its adjoints are
//     to the input    the same convolution with taps from last to first, in and out exchanged;
//     to the weights  dg = G^T [sum over tiles and clips of (A dy) o (B^T d)]
// so that the second, too, is one matrix product for each of the products of a tile,
// (in-channels x tiles) . (tiles x out-channels), with as few multiplications as the convolution.
#pragma once

#include <mutex>
#include <string>

#include "convolution/builds.h"
#include "convolution/work.h"

namespace kinema::convolution {

// A convolution and, unless `pooling` is null, the max pooling of its output, which it must be
// possible to fuse. Arrays are (clips, channels, time, height, width), those of weights (out, in,
// taps).
struct LearningLayer {
  Shape input;
  int out_channels;
  int kernel[3];
  bool relu;
  const Pooling* pooling;

  int lanes() const { return input.channels <= kFewLanes ? kFewLanes : kLanes; }
  Shape convolved() const { return {out_channels, input.time, input.height, input.width}; }
  Shape output() const { return pooling ? pooling->output() : convolved(); }
  // Bytes of `winners` for one clip.
  std::size_t winners() const { return pooling ? output().floats() : 0; }
};

struct Gradients {
  float *input, *weight, *bias;  // null for those that are not asked for
};

class LayerGradients {
 public:
  explicit LayerGradients(const std::string& target) : kernels_(kernels_of(target)) {}

  // `winners` may be null: then there is no way back through a pooling.
  void forward(const LearningLayer&, long clips, const float* input, const float* weight,
               const float* bias, float* output, unsigned char* winners, int threads);

  // `gradient` is that to the output; `output` is only read where there is a ReLU, `input` only for
  // the gradient to the weights.
  void backward(const LearningLayer&, long clips, const float* input, const float* weight,
                const float* output, const unsigned char* winners, const float* gradient,
                const Gradients&, int threads);

  // Nothing here may run at the same time as anything else on the same object.
  std::mutex& mutex() { return mutex_; }

 private:
  const Kernels& kernels_;
  // Kept from call to call: fresh memory is slow.
  Buffer packed_, bias_, activations_[3], workspace_, sums_;
  std::mutex mutex_;
};

}  // namespace kinema::convolution
