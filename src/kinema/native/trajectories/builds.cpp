#include "support/processors.h"
#include "trajectories/kernels.h"

namespace kinema::trajectories {

extern const Kernels kernels_portable;
#ifdef KINEMA_X86
extern const Kernels kernels_avx2, kernels_avx512;
#endif

const Kernels& kernels_of(const std::string& target) {
  return build_for<Kernels>(target, {
#ifdef KINEMA_X86
                                        &kernels_avx512, &kernels_avx2,
#endif
                                        &kernels_portable});
}

}  // namespace kinema::trajectories
