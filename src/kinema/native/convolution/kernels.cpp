// The kernels of convolution, compiled once for each kind of processor: KINEMA_TARGET names it.
#include "convolution/kernels.h"

#include "convolution/kernels/gradient.h"
#include "convolution/kernels/input.h"
#include "convolution/kernels/layouts.h"
#include "convolution/kernels/output.h"
#include "convolution/kernels/pooling.h"
#include "convolution/kernels/products.h"
#include "convolution/kernels/sizes.h"
#include "convolution/kernels/weights.h"

namespace kinema::convolution {

#define KINEMA_JOIN_(a, b) a##b
#define KINEMA_JOIN(a, b) KINEMA_JOIN_(a, b)
#define KINEMA_TEXT_(target) #target
#define KINEMA_TEXT(target) KINEMA_TEXT_(target)

extern const Kernels KINEMA_JOIN(kernels_, KINEMA_TARGET) = {KINEMA_TEXT(KINEMA_TARGET),
                                                             kPanel,
                                                             pack,
                                                             transform_input,
                                                             multiply,
                                                             transform_output,
                                                             pool,
                                                             unpool,
                                                             transform_gradient,
                                                             multiply_gradient,
                                                             unpack,
                                                             to_lanes,
                                                             from_lanes,
                                                             add_up};

}  // namespace kinema::convolution
