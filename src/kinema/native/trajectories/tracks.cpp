#include "trajectories/tracks.h"

#include <algorithm>
#include <cmath>

namespace kinema::trajectories {
namespace {

constexpr float kQuality = 0.001f;  // of the largest eigenvalue
constexpr float kMostSpread = 50, kLongestStep = 20, kLongestShare = 0.7f;  // pixels, of the length
constexpr float kLeastMotion = 1;  // pixels: shorter steps are the camera's
constexpr int kStepsOfCell = kLength / kTimeCells;

struct Channel {
  int size, start;  // values of a frame; place in the descriptors
};
constexpr Channel kHog{32, 0}, kHof{36, 96}, kMbhX{32, 204}, kMbhY{32, 300};

int rounded_inside(float place, int size) {
  return std::clamp(int(std::nearbyint(place)), 0, size - 1);
}

float length_of(Point p) { return std::sqrt(p.x * p.x + p.y * p.y); }

}  // namespace

Tracks::Tracks(const std::string& target, int width, int height)
    : scales_(target, width, height), alive_(scales_.size()) {}

int Tracks::num_alive() const {
  std::size_t count = 0;
  for (const auto& level : alive_) count += level.size();
  return int(count);
}

void Tracks::begin(const Picture& picture) {
  for (int level = 0; level < scales_.size(); ++level) sample(picture, level);
}

void Tracks::step(const Picture& first, const Picture& second, const Pair& pair) {
  ++frame_;
  rows_.clear();
  points_.clear();
  removed_.clear();
  for (int level = 0; level < scales_.size(); ++level) {
    move(pair, level);
    if (!alive_[level].empty()) describe(first, pair, level);
    end(level);
    sample(second, level);
  }
}

void Tracks::sample(const Picture& picture, int level) {
  const int columns = scales_.level(level).width / kSpacing;
  const int lines = scales_.level(level).height / kSpacing;
  std::vector<char> taken(std::size_t(columns) * lines);
  for (int index : alive_[level]) {
    const Track& track = tracks_[index];
    const Point& point = track.points[track.steps];
    const int x = int(point.x) / kSpacing, y = int(point.y) / kSpacing;
    if (x < columns && y < lines) taken[std::size_t(y) * columns + x] = 1;
  }
  const std::vector<float>& corners = picture.corners(level);
  const float bound = picture.largest_corner(level) * kQuality;
  for (int y = 0, cell = 0; y < lines; ++y)
    for (int x = 0; x < columns; ++x, ++cell) {
      if (taken[cell] || !(corners[cell] > bound)) continue;
      if (free_.empty()) {
        free_.push_back(int(tracks_.size()));
        tracks_.emplace_back();
      }
      Track& track = tracks_[free_.back()];
      track.steps = 0;
      track.points[0] = {float(x * kSpacing + kSpacing / 2), float(y * kSpacing + kSpacing / 2)};
      track.descriptors.fill(0);
      alive_[level].push_back(free_.back());
      free_.pop_back();
    }
}

void Tracks::move(const Pair& pair, int level) {
  const Level& size = scales_.level(level);
  std::vector<int>& alive = alive_[level];
  std::size_t kept = 0;
  for (int index : alive) {
    Track& track = tracks_[index];
    const Point from = track.points[track.steps];
    const std::ptrdiff_t at =
        rounded_inside(from.y, size.height) * size.stride + rounded_inside(from.x, size.width);
    const Point to{from.x + pair.flow(level, 0)[at], from.y + pair.flow(level, 1)[at]};
    if (!(to.x > 0 && to.x < float(size.width) && to.y > 0 && to.y < float(size.height))) {
      free_.push_back(index);
      continue;
    }
    track.displacements[track.steps] = {pair.warped(level, 0)[at], pair.warped(level, 1)[at]};
    track.points[++track.steps] = to;
    alive[kept++] = index;
  }
  alive.resize(kept);
}

void Tracks::describe(const Picture& first, const Pair& pair, int level) {
  const Level& size = scales_.level(level);
  const Kernels& kernels = scales_.kernels();
  const std::size_t cells = std::size_t(size.width + 1) * (size.height + 1);
  sums_.reserve((kBins + 1) * cells);
  scratch_.reserve(scales_.scratch());
  const Sums bins{sums_.data(), nullptr}, with_still{sums_.data(), sums_.data() + kBins * cells};
  const auto add = [&](const Channel& channel, Sums sums) {
    for (int index : alive_[level]) {
      Track& track = tracks_[index];
      const int step = track.steps - 1;
      const Point& point = track.points[step];
      const auto corner = [](float place, int side) {
        return std::clamp(int(std::nearbyint(place)) - kPatch / 2, 0, side - kPatch);
      };
      kernels.add_block(
          sums, size.width, corner(point.x, size.width), corner(point.y, size.height),
          track.descriptors.data() + channel.start + step / kStepsOfCell * channel.size);
    }
  };
  const float* flow[2] = {pair.warped(level, 0), pair.warped(level, 1)};
  kernels.sum_image(first.image(level), size, bins, scratch_.data());
  add(kHog, bins);
  kernels.sum_flow(flow, size, with_still, scratch_.data());
  add(kHof, with_still);
  kernels.sum_gradient(flow[0], size, bins, scratch_.data());
  add(kMbhX, bins);
  kernels.sum_gradient(flow[1], size, bins, scratch_.data());
  add(kMbhY, bins);
}

void Tracks::end(int level) {
  std::vector<int>& alive = alive_[level];
  std::size_t kept = 0;
  for (int index : alive) {
    if (tracks_[index].steps < kLength) {
      alive[kept++] = index;
      continue;
    }
    end(tracks_[index], scales_.level(level).scale);
    free_.push_back(index);
  }
  alive.resize(kept);
}

void Tracks::end(const Track& track, float scale) {
  Point points[kLength + 1], mean{0, 0}, spread{0, 0};
  constexpr float kShare = 1.0f / (kLength + 1);
  for (int i = 0; i <= kLength; ++i) {
    points[i] = {track.points[i].x * scale, track.points[i].y * scale};
    mean.x += points[i].x;
    mean.y += points[i].y;
  }
  mean = {mean.x * kShare, mean.y * kShare};
  for (const Point& p : points) {
    spread.x += (p.x - mean.x) * (p.x - mean.x);
    spread.y += (p.y - mean.y) * (p.y - mean.y);
  }
  spread = {std::sqrt(spread.x * kShare), std::sqrt(spread.y * kShare)};
  const float least_spread = std::sqrt(3.0f);
  if (spread.x < least_spread && spread.y < least_spread) return;  // it stands still
  if (spread.x > kMostSpread || spread.y > kMostSpread) return;    // it jumps
  float length = 0, longest = 0;
  for (int i = 0; i < kLength; ++i) {
    const float step = length_of({points[i + 1].x - points[i].x, points[i + 1].y - points[i].y});
    length += step;
    longest = std::max(longest, step);
  }
  if (longest > kLongestStep && longest > length * kLongestShare) return;

  float motion = 0, fastest = 0;
  Point displacements[kLength];
  for (int i = 0; i < kLength; ++i) {
    displacements[i] = {track.displacements[i].x * scale, track.displacements[i].y * scale};
    const float step = length_of(displacements[i]);
    motion += step;
    fastest = std::max(fastest, step);
  }
  if (!(fastest > kLeastMotion)) {
    removed_.insert(removed_.end(), points, points + kLength + 1);
    return;
  }
  const float width = float(scales_.level(0).width), height = float(scales_.level(0).height);
  const auto share = [](float value) { return std::clamp(value, 0.0f, 0.999f); };
  const float info[10] = {float(frame_),
                          mean.x,
                          mean.y,
                          spread.x,
                          spread.y,
                          length,
                          scale,
                          share(mean.x / width),
                          share(mean.y / height),
                          float(frame_)};
  rows_.insert(rows_.end(), info, info + 10);
  for (const Point& step : displacements) {
    rows_.push_back(step.x / motion);
    rows_.push_back(step.y / motion);
  }
  for (float sum : track.descriptors) rows_.push_back(sum * (1.0f / kStepsOfCell));
  points_.insert(points_.end(), points, points + kLength + 1);
}

}  // namespace kinema::trajectories
