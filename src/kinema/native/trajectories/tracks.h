// Tracks of sampled points, and their descriptors.
#pragma once

#include <array>
#include <mutex>
#include <string>
#include <vector>

#include "trajectories/pair.h"

namespace kinema::trajectories {

struct Point {
  float x, y;
};

class Tracks {
 public:
  Tracks(const std::string& target, int width, int height);

  // Samples the first frame.
  void begin(const Picture& picture);
  // Follows the flow of `pair` from `first`, ends tracks of full length, samples `second`.
  void step(const Picture& first, const Picture& second, const Pair& pair);

  const Scales& scales() const { return scales_; }
  // Tracks that ended in the last step: rows of kRows values, in which the tenth is the number of
  // the frame in which the track ends; points of kLength + 1 in pixels of the frame; and the points
  // of those that only the camera moved.
  const std::vector<float>& rows() const { return rows_; }
  const std::vector<Point>& points() const { return points_; }
  const std::vector<Point>& removed() const { return removed_; }
  int num_alive() const;

  std::mutex& mutex() { return mutex_; }

 private:
  using Channels = std::array<float, kTimeCells * (32 + 36 + 32 + 32)>;
  struct Track {
    int steps = 0;
    Point points[kLength + 1];
    Point displacements[kLength];
    Channels descriptors;  // sums; in the order of the row
  };

  void sample(const Picture& picture, int level);
  void move(const Pair& pair, int level);
  void describe(const Picture& first, const Pair& pair, int level);
  void end(int level);
  void end(const Track& track, float scale);

  Scales scales_;
  int frame_ = 0;
  std::vector<Track> tracks_;
  std::vector<int> free_;
  std::vector<std::vector<int>> alive_;  // places in tracks_, by level, the oldest first
  std::vector<float> rows_;
  std::vector<Point> points_, removed_;
  Buffer sums_, scratch_;
  std::mutex mutex_;
};

}  // namespace kinema::trajectories
