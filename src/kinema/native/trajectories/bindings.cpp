#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "support/binding.h"
#include "trajectories/tracks.h"

namespace kinema {
namespace trajectories {
namespace {

using namespace nb::literals;

constexpr int kMostSide = 1 << 15;
constexpr std::int64_t kMostPixels = 1 << 26;

void check_size(std::int64_t width, std::int64_t height) {
  check(width >= kPatch && height >= kPatch && width <= kMostSide && height <= kMostSide &&
            width * height <= kMostPixels,
        "frames must have sides from 32 to 2**15, and at most 2**26 pixels.");
}

bool same_size(const Scales& a, const Scales& b) {
  return a.level(0).width == b.level(0).width && a.level(0).height == b.level(0).height;
}

// Both pictures for reading, while `owner` is one's own.
template <class Owner, class Function>
void with_pictures(Owner& owner, Picture& first, Picture& second, Function function) {
  alone(owner, [&] {
    const std::shared_lock<std::shared_mutex> lock(first.mutex());
    std::shared_lock<std::shared_mutex> other;
    if (&first != &second) other = std::shared_lock<std::shared_mutex>(second.mutex());
    check(first.is_read() && second.is_read(), "a picture has not been read.");
    check(same_size(owner.scales(), first.scales()) && same_size(owner.scales(), second.scales()),
          "pictures have another size.");
    function();
  });
}

template <class Owned>
auto made() {
  return [](Owned* self, const std::string& target, int width, int height) {
    check_size(width, height);
    new (self) Owned(target, width, height);
  };
}

void copy_plane(const float* plane, const Level& level, float* to) {
  for (int y = 0; y < level.height; ++y)
    std::copy_n(plane + y * level.stride, level.width, to + std::size_t(y) * level.width);
}

void check_level(const Scales& scales, int level) {
  check(level >= 0 && level < scales.size(), "no such level.");
}

void bind_picture(nb::module_& m) {
  nb::class_<Picture>(m, "Picture")
      .def("__init__", made<Picture>(), "target"_a, "width"_a, "height"_a)
      .def(
          "read",
          [](Picture& self, InputBytes image) {
            const nb::gil_scoped_release released;
            const std::lock_guard<std::shared_mutex> lock(self.mutex());
            const Level& level = self.scales().level(0);
            check(has_shape(image, {std::size_t(level.height), std::size_t(level.width)}),
                  "the image has another size.");
            self.read(image.data());
          },
          "image"_a.noconvert())
      .def(
          "image",
          [](Picture& self, int index, OutputBytes to) {
            const std::shared_lock<std::shared_mutex> lock(self.mutex());
            check_level(self.scales(), index);
            const Level& level = self.scales().level(index);
            check(self.is_read() &&
                      has_shape(to, {std::size_t(level.height), std::size_t(level.width)}),
                  "the image has another size, or is not read.");
            std::copy_n(self.image(index), std::size_t(level.width) * level.height, to.data());
          },
          "level"_a, "to"_a.noconvert());
}

void bind_pair(nb::module_& m) {
  nb::class_<Pair>(m, "Pair")
      .def("__init__", made<Pair>(), "target"_a, "width"_a, "height"_a)
      .def(
          "solve",
          [](Pair& self, Picture& first, Picture& second) {
            with_pictures(self, first, second, [&] { self.solve(first, second); });
          },
          "first"_a, "second"_a)
      .def(
          "solve_warped",
          [](Pair& self, Picture& first, Picture& second, std::vector<double> homography) {
            check(homography.size() == 9, "a homography has nine values.");
            with_pictures(self, first, second,
                          [&] { self.solve_warped(first, second, homography.data()); });
          },
          "first"_a, "second"_a, "homography"_a)
      .def(
          "flow",
          [](Pair& self, int index, bool warped, Output to) {
            alone(self, [&] {
              check_level(self.scales(), index);
              const Level& level = self.scales().level(index);
              check(warped ? self.is_warped() : self.is_solved(), "the flow is not solved.");
              check(has_shape(to, {2, std::size_t(level.height), std::size_t(level.width)}),
                    "the flow has another size.");
              for (int axis = 0; axis < 2; ++axis)
                copy_plane(warped ? self.warped(index, axis) : self.flow(index, axis), level,
                           to.data() + axis * std::size_t(level.height) * level.width);
            });
          },
          "level"_a, "warped"_a, "to"_a.noconvert())
      .def(
          "warped_image",
          [](Pair& self, OutputBytes to) {
            alone(self, [&] {
              const Level& level = self.scales().level(0);
              check(self.is_warped() &&
                        has_shape(to, {std::size_t(level.height), std::size_t(level.width)}),
                    "the image has another size, or is not warped.");
              std::copy_n(self.warped_image(), std::size_t(level.width) * level.height, to.data());
            });
          },
          "to"_a.noconvert());
}

void bind_tracks(nb::module_& m) {
  nb::class_<Tracks>(m, "Tracks")
      .def("__init__", made<Tracks>(), "target"_a, "width"_a, "height"_a)
      .def(
          "begin",
          [](Tracks& self, Picture& picture) {
            with_pictures(self, picture, picture, [&] { self.begin(picture); });
          },
          "picture"_a)
      .def(
          "step",
          [](Tracks& self, Picture& first, Picture& second, Pair& pair) {
            with_pictures(self, first, second, [&] {
              const std::lock_guard<std::mutex> lock(pair.mutex());
              check(pair.is_solved() && pair.is_warped(), "the flow is not solved.");
              check(same_size(self.scales(), pair.scales()), "the flow has another size.");
              self.step(first, second, pair);
            });
            return std::make_tuple(self.points().size() / (kLength + 1),
                                   self.removed().size() / (kLength + 1));
          },
          "first"_a, "second"_a, "pair"_a,
          "How many tracks ended, and how many that only the camera moved.")
      .def(
          "ended",
          [](Tracks& self, Output rows, Output points, Output removed) {
            alone(self, [&] {
              const std::size_t count = self.points().size() / (kLength + 1);
              check(has_shape(rows, {count, std::size_t(kRows)}) &&
                        has_shape(points, {count, kLength + 1, 2}) &&
                        has_shape(removed, {self.removed().size() / (kLength + 1), kLength + 1, 2}),
                    "rows and points have other sizes.");
              std::copy(self.rows().begin(), self.rows().end(), rows.data());
              const auto write = [](const std::vector<Point>& from, float* to) {
                for (const Point& point : from) *to++ = point.x, *to++ = point.y;
              };
              write(self.points(), points.data());
              write(self.removed(), removed.data());
            });
          },
          "rows"_a.noconvert(), "points"_a.noconvert(), "removed"_a.noconvert())
      .def_prop_ro("num_alive",
                   [](Tracks& self) { return alone(self, [&] { return self.num_alive(); }); });
}

Keypoints keypoints(const std::tuple<Input, Input>& arrays) {
  const auto& [points, descriptors] = arrays;
  check(points.ndim() == 2 && points.shape(0) < std::size_t(kMostPixels) &&
            has_shape(points, {points.shape(0), 2}) &&
            has_shape(descriptors, {points.shape(0), std::size_t(kDescriptor)}),
        "keypoints must be points (n, 2) and descriptors (n, 128).");
  return {points.data(), descriptors.data(), int(points.shape(0))};
}

// One kernel at a time, on arrays without padding: for tests.
void bind_kernels(nb::module_& m) {
  m.def(
      "corners",
      [](const std::string& target, InputBytes image, Output to) {
        check(image.ndim() == 2, "an image must be (height, width).");
        check_size(image.shape(1), image.shape(0));
        check(has_shape(to, {image.shape(0), image.shape(1)}), "the result has another size.");
        const Scales scales(target, int(image.shape(1)), int(image.shape(0)));
        Buffer values, scratch;
        values.reserve(scales.offset(1));
        scratch.reserve(scales.scratch());
        const float largest =
            scales.kernels().corners(image.data(), scales.level(0), values.data(), scratch.data());
        copy_plane(values.data(), scales.level(0), to.data());
        return largest;
      },
      "target"_a, "image"_a.noconvert(), "to"_a.noconvert());
  m.def(
      "median",
      [](const std::string& target, Input plane, Output to) {
        check(plane.ndim() == 2, "a plane must be (height, width).");
        check_size(plane.shape(1), plane.shape(0));
        check(has_shape(to, {plane.shape(0), plane.shape(1)}), "the result has another size.");
        const Scales scales(target, int(plane.shape(1)), int(plane.shape(0)));
        const Level& level = scales.level(0);
        Buffer values, result, scratch;
        values.reserve(scales.offset(1));
        result.reserve(scales.offset(1));
        scratch.reserve(scales.scratch());
        for (int y = 0; y < level.height; ++y)
          std::copy_n(plane.data() + std::size_t(y) * level.width, level.width,
                      values.data() + y * level.stride);
        scales.kernels().median(values.data(), level, result.data(), scratch.data());
        copy_plane(result.data(), level, to.data());
      },
      "target"_a, "plane"_a.noconvert(), "to"_a.noconvert());
  m.def(
      "match",
      [](const std::string& target, std::tuple<Input, Input> from, std::tuple<Input, Input> to,
         float window, nb::ndarray<int, nb::c_contig, nb::device::cpu> nearest) {
        const Keypoints here = keypoints(from), there = keypoints(to);
        check(has_shape(nearest, {std::size_t(here.count)}), "the result has another size.");
        const Kernels& kernels = kernels_of(target);
        const nb::gil_scoped_release released;
        for (int i = 0; i < here.count; ++i)
          nearest.data()[i] =
              kernels.nearest(here.points[2 * i], here.points[2 * i + 1],
                              here.descriptors + std::ptrdiff_t(i) * kDescriptor, there, window);
      },
      "target"_a, "keypoints"_a, "others"_a, "window"_a, "nearest"_a.noconvert(),
      "For each keypoint, points and descriptors, the most alike of the others near it, or -1.");
  m.def(
      "levels",
      [](int width, int height) {
        check_size(width, height);
        std::vector<std::tuple<int, int, float>> found;
        for (const Level& level : levels_of(width, height))
          found.emplace_back(level.width, level.height, level.scale);
        return found;
      },
      "width"_a, "height"_a, "Width, height and scale of each level.");
}

}  // namespace
}  // namespace trajectories

void bind_trajectories(nb::module_& m) {
  // Names that only this domain knows.
  nb::module_ own = m.def_submodule("trajectories");
  trajectories::bind_picture(own);
  trajectories::bind_pair(own);
  trajectories::bind_tracks(own);
  trajectories::bind_kernels(own);
}

}  // namespace kinema
