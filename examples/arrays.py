"""Instance normalisation of arrays: the function, a stream, the way back, gradients, the layer."""

import numpy as np

import instnorm

rng = np.random.default_rng(0)
x = rng.normal(5.0, 2.0, (20, 100, 40)).astype(np.float32)  # N, C, L

# The function. `out=` may be a new array or x itself.
y = instnorm.instance_norm(x)
instnorm.instance_norm(x, out=y)

# Statistics are values: of a stream, merge by merge, and for the way back.
stream = instnorm.Moments.empty(20, 100)
for chunk in np.split(x, 4, axis=2):
    stream = stream.merge(instnorm.moments(chunk))
y = instnorm.instance_norm(x, moments=stream)
back = instnorm.denormalize(y, stream)
print("largest error of the way back:", np.abs(back - x).max())

# Gradients, without a framework.
weight = np.ones(100, np.float32)
y, used = instnorm.instance_norm(x, weight=weight, return_moments=True)
grad_input, grad_weight, _ = instnorm.instance_norm_backward(np.ones_like(y), x, used, weight)
print("shapes of the gradients:", grad_input.shape, grad_weight.shape)

# The layer, with running statistics.
norm = instnorm.InstanceNorm1d(100, affine=True, track_running_stats=True)
norm(x)
norm.eval()
print(norm, norm(x).mean())
