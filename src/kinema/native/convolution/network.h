// A chain of layers with packed weights, ready to run.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "convolution/builds.h"
#include "convolution/work.h"

namespace kinema::convolution {

class Network {
 public:
  // `target` is one of targets(); `shape` that of one clip.
  Network(const std::string& target, Shape shape, int threads);

  // weight: (out_channels, channels, *kernel), bias: (out_channels,).
  void add_convolution(int out_channels, const int kernel[3], bool relu, const float* weight,
                       const float* bias);
  // weight: (out_features, input flattened channel slowest).
  void add_linear(int out_features, bool relu, const float* weight, const float* bias);
  void add_pooling(const int kernel[3], const int padding[3], const int sizes[3]);
  void add_softmax();

  // clips: (clips, *input shape). Each of `outputs` is (layer, where its (clips, *shape) goes).
  void run(const float* clips, long num_clips, const std::vector<std::pair<int, float*>>& outputs);

  // Nothing here may run at the same time as anything else on the same network: whoever shares one
  // among threads locks this around every call.
  std::mutex& mutex() { return mutex_; }

  const Shape& input() const { return input_; }
  // Output shape of the last layer; of layer `index`.
  const Shape& shape() const { return layers_.empty() ? input_ : layers_.back().output; }
  const Shape& shape(int index) const { return layers_[index].output; }
  int num_layers() const { return int(layers_.size()); }
  std::string target() const { return kernels_.name; }
  std::size_t packed_bytes() const;
  // How a layer is computed: its transforms along time, height and width.
  std::string describe(int index) const;
  // Multiply-adds of a layer's matrix products, for one clip.
  double multiply_adds(int index) const;
  // Where the time of all runs so far went.
  const Profile& profile(int index) const { return layers_[index].profile; }

 private:
  enum class Kind { convolution, pooling, softmax };
  struct Layer {
    Kind kind;
    Shape output;
    Convolution convolution;  // a fully connected layer is one over a map of a single sample
    Pooling pooling;
    Buffer packed, bias;
    Profile profile;
  };

  void add(Layer layer, const Weights& weights, const float* bias);
  // How many layers from the first on run clip by clip.
  int num_light_layers() const;
  void run_some(const float* clips, int num_clips,
                const std::vector<std::pair<int, float*>>& outputs);

  const Kernels& kernels_;
  Shape input_;
  int threads_;
  int input_lanes_ = kLanes;  // of the clips, as the first layer reads them
  std::vector<Layer> layers_;
  Buffer clip_activations_[2], activations_[2], workspace_;
  std::mutex mutex_;
};

}  // namespace kinema::convolution
