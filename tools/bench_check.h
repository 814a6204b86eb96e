// Are the values that are timed the right ones? Against the textbook definition.
#pragma once

#include <instnorm/tensor.h>

#include <string>

namespace instnorm::cli {

// Dense (N, C, L) tensors of one dtype. Empty, or one line about the first wrong value.
std::string check_forward(const Tensor& x, const Tensor& y, double eps);
std::string check_backward(const Tensor& x, const Tensor& g, const Tensor& gx, double eps);

}  // namespace instnorm::cli
