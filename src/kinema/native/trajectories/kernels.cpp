// The kernels of dense trajectories, compiled once for each kind of processor: KINEMA_TARGET.
#include "trajectories/kernels.h"

#include "trajectories/kernels/expansion.h"
#include "trajectories/kernels/flow.h"
#include "trajectories/kernels/histograms.h"
#include "trajectories/kernels/images.h"
#include "trajectories/kernels/median.h"

namespace kinema::trajectories {

#define KINEMA_JOIN_(a, b) a##b
#define KINEMA_JOIN(a, b) KINEMA_JOIN_(a, b)
#define KINEMA_TEXT_(target) #target
#define KINEMA_TEXT(target) KINEMA_TEXT_(target)

extern const Kernels KINEMA_JOIN(kernels_, KINEMA_TARGET) = {KINEMA_TEXT(KINEMA_TARGET),
                                                             shrink,
                                                             to_floats,
                                                             blur,
                                                             expand,
                                                             update,
                                                             median,
                                                             enlarge,
                                                             warp,
                                                             corners,
                                                             sum_image,
                                                             sum_gradient,
                                                             sum_flow,
                                                             add_block,
                                                             nearest};

}  // namespace kinema::trajectories
