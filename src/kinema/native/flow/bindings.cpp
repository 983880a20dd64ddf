#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "flow/brox.h"
#include "support/binding.h"
#include "support/memory.h"
#include "support/processors.h"
#include "support/threads.h"

namespace kinema {
namespace flow {

extern const Kernels kernels_portable;
#ifdef KINEMA_X86
extern const Kernels kernels_avx2, kernels_avx512;
#endif

namespace {

using namespace nb::literals;

constexpr int kMostSide = 1 << 15;
constexpr std::size_t kMostPixels = 1u << 27;

const Kernels& kernels_of(const std::string& target) {
  return build_for<Kernels>(target, {
#ifdef KINEMA_X86
                                        &kernels_avx512, &kernels_avx2,
#endif
                                        &kernels_portable});
}

Taps checked_taps(const std::vector<float>& values) {
  check(!values.empty() && values.size() <= std::size_t(kMostTaps), "taps must be from 1 to 64.");
  Taps taps{int(values.size()), {}};
  std::copy(values.begin(), values.end(), taps.values);
  return taps;
}

void set_scales(Settings& settings, const std::vector<std::pair<int, int>>& scales) {
  check(!scales.empty() && scales.size() <= std::size_t(kMostScales),
        "there must be from 1 to 100 scales.");
  for (const auto& [height, width] : scales) {
    check(height > 0 && width > 0 && height <= kMostSide && width <= kMostSide,
          "sides must be from 1 to 2**15 pixels.");
    check(height <= scales[0].first && width <= scales[0].second,
          "no scale may be larger than the first.");
    settings.scales[settings.num_scales++] = {height, width};
  }
  check(std::size_t(scales[0].first) * scales[0].second <= kMostPixels,
        "an image must have at most 2**27 pixels.");
}

// Each pair is one thread's, so that its flow does not depend on how many there are.
void solve_all(const Kernels& kernels, const Settings& settings, long pairs, const float* first,
               const float* second, float* flow, int threads) {
  threads = int(std::min<long>(threads, pairs));
  if (threads == 0) return;
  std::vector<Buffer> buffers(threads);
  for (Buffer& buffer : buffers) buffer.reserve(floats_needed(settings));
  const std::ptrdiff_t pixels =
      std::ptrdiff_t(settings.scales[0].height) * settings.scales[0].width;
  Team::run(threads, [&](Team& team, int thread) {
    team.for_each(pairs, [&](long pair) {
      kernels.solve(first + pair * pixels, second + pair * pixels, settings,
                    flow + 2 * pair * pixels, buffers[thread].data());
    });
  });
}

}  // namespace
}  // namespace flow

void bind_flow(nb::module_& m) {
  using namespace flow;
  m.def(
      "brox_flow",
      [](const std::string& target, Input first, Input second, Output result,
         const std::vector<std::pair<int, int>>& scales, const std::vector<float>& presmoothing,
         const std::vector<float>& shrinking, float alpha, float gamma, float nu, float epsilon,
         int warps, int inner, float omega, double tolerance, int most_sweeps, int sweeps_a_check,
         int threads) {
        Settings settings{};
        set_scales(settings, scales);
        settings.presmoothing = checked_taps(presmoothing);
        settings.shrinking = checked_taps(shrinking);
        check(std::isfinite(alpha) && std::isfinite(gamma) && std::isfinite(omega) && nu > 0 &&
                  nu < 1 && epsilon > 0,
              "weights must be finite, nu between 0 and 1 and epsilon above 0.");
        check(warps > 0 && inner > 0 && most_sweeps > 0 && sweeps_a_check > 0 &&
                  sweeps_a_check <= most_sweeps,
              "warps, inner and sweeps must be at least 1.");
        check_threads(threads);
        settings.alpha = alpha;
        settings.gamma = gamma;
        settings.nu = nu;
        settings.epsilon = epsilon;
        settings.warps = warps;
        settings.inner = inner;
        settings.omega = omega;
        settings.tolerance = tolerance;
        settings.most_sweeps = most_sweeps;
        settings.sweeps_a_check = sweeps_a_check;
        const std::size_t height = scales[0].first, width = scales[0].second;
        check(first.ndim() == 3, "first must be (pairs, height, width).");
        const std::size_t pairs = first.shape(0);
        check(has_shape(first, {pairs, height, width}) && has_shape(second, {pairs, height, width}),
              "images must be of the first scale's size.");
        check(has_shape(result, {pairs, height, width, 2}),
              "flow must be (pairs, height, width, 2).");
        const Kernels& kernels = kernels_of(target);
        const nb::gil_scoped_release released;
        solve_all(kernels, settings, long(pairs), first.data(), second.data(), result.data(),
                  threads);
      },
      "target"_a, "first"_a.noconvert(), "second"_a.noconvert(), "flow"_a.noconvert(), "scales"_a,
      "presmoothing"_a, "shrinking"_a, "alpha"_a, "gamma"_a, "nu"_a, "epsilon"_a, "warps"_a,
      "inner"_a, "omega"_a, "tolerance"_a, "most_sweeps"_a, "sweeps_a_check"_a, "threads"_a,
      "The flow of pairs of images.");
}

}  // namespace kinema
