// The kernels of the flow, compiled once for each kind of processor: KINEMA_TARGET names it.
#include "flow/brox.h"
#include "flow/kernels/scale.h"

namespace kinema::flow {

#define KINEMA_JOIN_(a, b) a##b
#define KINEMA_JOIN(a, b) KINEMA_JOIN_(a, b)
#define KINEMA_TEXT_(target) #target
#define KINEMA_TEXT(target) KINEMA_TEXT_(target)

extern const Kernels KINEMA_JOIN(kernels_, KINEMA_TARGET) = {KINEMA_TEXT(KINEMA_TARGET), solve};

}  // namespace kinema::flow
