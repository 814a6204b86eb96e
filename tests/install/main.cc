#include <instnorm/instnorm.h>
#include <vector>

int main() {
  const int64_t n = 20, c = 100, l = 40;
  std::vector<float> x(n * c * l, 1.5f), y(x.size());

  // The function: views over memory that the caller owns.
  instnorm::instance_norm(instnorm::view(x, {n, c, l}), instnorm::view(y, {n, c, l}));
  instnorm::instance_norm(instnorm::view(x, {n, c, l}), instnorm::view(y, {n, c, l}),
                          {.eps = 1e-3});

  // The module, as in torch::nn.
  instnorm::InstanceNorm1d norm({.num_features = c, .affine = true, .track_running_stats = true});
  instnorm::Tensor out = norm(instnorm::view(x, {n, c, l}));  // owns its memory
  norm.forward(instnorm::view(x, {n, c, l}), instnorm::view(y, {n, c, l}));
  norm.save("norm.safetensors");  // PyTorch's keys: weight, bias, running_mean, …
  norm.eval();
  norm.load("norm.safetensors");

  // Gradients, without any framework.
  std::vector<float> g(x.size(), 1.0f), gx(x.size()), gw(c), gb(c), w(c, 1.0f);
  instnorm::Moments moments;  // count, mean, m2 of each row
  instnorm::instance_norm(instnorm::view(x, {n, c, l}), instnorm::view(y, {n, c, l}),
                          {.weight = instnorm::view(w, {c}), .save_moments = &moments});
  instnorm::instance_norm_backward(instnorm::view(x, {n, c, l}), instnorm::view(g, {n, c, l}),
                                   moments,
                                   {.grad_input = instnorm::view(gx, {n, c, l}),
                                    .grad_weight = instnorm::view(gw, {c}),
                                    .grad_bias = instnorm::view(gb, {c})},
                                   {.weight = instnorm::view(w, {c})});
}
