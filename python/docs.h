// What help() says of the functions. The first line is the signature as Python reads it.
#pragma once

namespace instnorm::python::docs {

inline constexpr char kInstanceNorm[] =
    R"(instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-05, *, out=None, lengths=None, mask=None, nan_policy='propagate', data_format='NCL', weight_offset=0.0, activation=None, moments=None, return_moments=False)
--

Normalise each row of `input` by its own mean and variance.

    y = activation((x - mean) / sqrt(var + eps) * (weight + weight_offset) + bias)

A row is one instance n and one channel c; mean and the biased variance are taken over its length.

Parameters
----------
input : array, (C, L), (N, C, L) or (N, C, D1, D2, ...)
    float16, bfloat16, float32 or float64, with any strides. Of NumPy, or any other framework whose
    arrays speak DLPack and are on the CPU. It is read in place, never copied.
running_mean, running_var : array (C,), optional
    With use_input_stats they are updated in place, by the unbiased variance averaged over n; without
    they are what the input is normalised by. Both or neither.
weight, bias : array (C,) or (N, C), optional
    Each on its own. (N, C): one for each instance.
use_input_stats : bool
    False: normalise by running_mean and running_var.
momentum : float
    The weight of the new value in the running statistics.
eps : float
    Added to the variance.
out : array, optional
    Where to write, of the input's shape and dtype; it may be `input` itself. Any other overlap is an
    error.
lengths : array (N,), int32 or int64, optional
    Only the first lengths[n] values of the rows of n are there: the others have no effect, whatever
    they are, and y is 0 there. A row of fewer than 2 values gives the bias, and is left out of the
    running statistics; normalised by these it is an ordinary row.
mask : bool array, optional
    True where a value is there: (N, L), (N, 1, L) or (N, C, L); with "NLC" (N, L), (N, L, 1) or
    (N, L, C). As lengths, for any pattern; not together with it.
nan_policy : {"propagate", "omit", "raise"}
    A NaN makes its row NaN; or it is left out of the statistics and stays NaN in y; or it is a
    ValueError before anything is written. What lies in the padding is not looked at.
data_format : {"NCL", "NLC"}
    "NLC": the input is (N, L, C) or (L, C), and not copied for that.
weight_offset : float
    Added to the weight, if there is one.
activation : {None, "relu", "leaky_relu", "gelu", "gelu_tanh", "silu"}
    Applied in the same pass. The slope of leaky_relu is 0.01; gelu is that by erf.
moments : Moments, optional
    Normalise by these instead of the input's own. Rows with count < 2 give the bias; so do rows with
    zero variance if eps is 0.
return_moments : bool
    Also return the Moments that were used.

weight, bias and the running statistics have the input's dtype, or float32 with float16 and bfloat16.

Returns
-------
array
    `out`, or a new contiguous array with the input's shape, dtype and framework.
Moments
    Only with return_moments.

Raises
------
TypeError
    For what is not an array, a tensor that requires grad or has no memory of its own, a masked
    array, and arguments of another type.
ValueError
    For shapes, dtypes, byte orders and devices that do not fit, a read-only `out`, overlapping
    arrays, lengths out of range, unknown names, a NaN with nan_policy="raise"; and for L = 1, where
    no row has a variance, unless lengths, mask, nan_policy="omit" or moments are given.

Examples
--------
>>> import numpy as np
>>> x = np.array([[[1.0, 3.0, 1.0, 3.0], [0.0, 0.0, 4.0, 4.0]]])
>>> instnorm.instance_norm(x, eps=0.0)
array([[[-1.,  1., -1.,  1.],
        [-1., -1.,  1.,  1.]]])
>>> weight, bias = np.array([1.0, 2.0]), np.array([0.0, 5.0])
>>> y = instnorm.instance_norm(x, weight=weight, bias=bias, eps=0.0, out=x)
>>> y is x
True
>>> x[0, 1]
array([3., 3., 7., 7.])

Sequences of 2 and 4 values in one batch:

>>> batch = np.array([[[1.0, 3.0, 0.0, 0.0]], [[1.0, 3.0, 1.0, 3.0]]])
>>> instnorm.instance_norm(batch, eps=0.0, lengths=np.array([2, 4]))
array([[[-1.,  1.,  0.,  0.]],
<BLANKLINE>
       [[-1.,  1., -1.,  1.]]])

A measurement that failed:

>>> instnorm.instance_norm(np.array([[1.0, np.nan, 3.0]]), eps=0.0, nan_policy="omit")
array([[-1., nan,  1.]]))";

inline constexpr char kInstanceNormBackward[] =
    R"(instance_norm_backward(grad_output, input, moments, weight=None, bias=None, eps=1e-05, *, use_input_stats=True, lengths=None, mask=None, nan_policy='propagate', data_format='NCL', weight_offset=0.0, activation=None)
--

The gradients of `instance_norm`, given the gradient of its result.

With r = 1 / sqrt(var + eps), xhat = (x - mean) * r, w = weight + weight_offset,
h = grad_output * activation'(w * xhat + bias), and the means over the values of a row that are there:

    grad_input  = w * r * (h - mean(h) - xhat * mean(h * xhat))
    grad_weight = sum of h * xhat,  grad_bias = sum of h

grad_input is 0 where no value is. A row whose moments have count < 2, or zero variance with eps = 0,
is its bias, and gives to grad_bias alone.

Parameters
----------
grad_output : array
    Of the shape and dtype of `input`.
input : array
    What was normalised, as `instance_norm` takes it.
moments : Moments
    What it was normalised by: from instance_norm(..., return_moments=True), or moments(input).
weight, bias, eps, lengths, mask, nan_policy, data_format, weight_offset, activation
    As they were given to `instance_norm`.
use_input_stats : bool
    False: the moments are constants, given ones or running statistics, and grad_input = w * r * h.

Returns
-------
grad_input, grad_weight, grad_bias : arrays
    Each like the array that it belongs to; None without weight, None without bias.

Raises
------
TypeError, ValueError
    As `instance_norm` does.

Examples
--------
>>> import numpy as np
>>> x = np.array([[1.0, 3.0, 1.0, 3.0]])
>>> weight = np.array([2.0])
>>> y, m = instnorm.instance_norm(x, weight=weight, eps=0.0, return_moments=True)
>>> g = np.array([[1.0, 0.0, 0.0, 0.0]])
>>> gx, gw, gb = instnorm.instance_norm_backward(g, x, m, weight, eps=0.0)
>>> gx
array([[ 1.,  0., -1.,  0.]])
>>> gw, gb
(array([-1.]), None))";

inline constexpr char kMoments[] =
    R"(moments(input, *, lengths=None, mask=None, nan_policy='propagate', data_format='NCL')
--

Count, mean and sum of squared deviations of each row of `input`.

Parameters
----------
input : array, (C, L), (N, C, L) or (N, C, D1, D2, ...)
    As `instance_norm` takes it; rows of one value or none are fine.
lengths, mask, nan_policy, data_format
    As `instance_norm` takes them.

Returns
-------
Moments
    float64 arrays of shape (N, C); (1, C) for (C, L).

Raises
------
TypeError, ValueError
    As `instance_norm` does.

Examples
--------
>>> import numpy as np
>>> m = instnorm.moments(np.array([[1.0, 3.0, 1.0, 3.0]]))
>>> m.mean, m.var()
(array([[2.]]), array([[1.]]))

A signal that comes in pieces:

>>> pieces = np.array([[1.0, 3.0]]), np.array([[1.0, 3.0]])
>>> instnorm.moments(pieces[0]).merge(instnorm.moments(pieces[1])) == m
True)";

inline constexpr char kDenormalize[] =
    R"(denormalize(y, m, weight=None, bias=None, eps=1e-05, *, weight_offset=0.0, data_format='NCL', out=None)
--

The way back from `instance_norm`.

    x = (y - bias) / (weight + weight_offset) * sqrt(var + eps) + mean

Where the weight is 0 this divides by 0, as IEEE 754 has it. An activation is not undone.

Parameters
----------
y : array, (C, L), (N, C, L) or (N, C, D1, D2, ...)
    As `instance_norm` takes its input.
m : Moments
    By which y was normalised.
weight, bias, eps, weight_offset, data_format
    As they were given to `instance_norm`.
out : array, optional
    Where to write, of the shape and dtype of y; it may be y itself.

Returns
-------
array
    `out`, or a new contiguous array with y's shape, dtype and framework.

Raises
------
TypeError, ValueError
    As `instance_norm` does.

Examples
--------
>>> import numpy as np
>>> x = np.array([[1.0, 3.0, 1.0, 3.0]])
>>> y, m = instnorm.instance_norm(x, return_moments=True)
>>> bool(np.allclose(instnorm.denormalize(y, m), x))
True)";

}  // namespace instnorm::python::docs
