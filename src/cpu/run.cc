#include "cpu/run.h"

#include <cstdint>
#include <exception>
#include <vector>

#include "cpu/row.h"
#include "cpu/threads.h"
#include "dtype.h"

namespace instnorm::cpu {
namespace {

// Runs body(first, last) on each thread's share of [0, n): the same shares for the same n. What a
// body throws (no memory) is thrown to the caller.
template <class Body>
void on_threads(int threads, std::int64_t n, const Body& body) {
  if (threads <= 1) return body(std::int64_t{0}, n);
  note_threads_used();
  std::exception_ptr thrown;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; ++t) {
    try {
      body(n * t / threads, n * (t + 1) / threads);
    } catch (...) {
#pragma omp critical(instnorm_thrown)
      thrown = std::current_exception();
    }
  }
  if (thrown) std::rethrow_exception(thrown);
}

// Runs body(block) for each block of a row: on this thread, or on all of them where they share
// rows. In both steps of a row a thread has the same blocks, so that it finds in its cache what it
// summed.
template <class Body>
void each_block(const Plan& plan, const Body& body) {
  on_threads(plan.split == Plan::Split::blocks ? plan.threads : 1, plan.blocks,
             [&](std::int64_t first, std::int64_t last) {
               for (std::int64_t b = first; b < last; ++b) body(b);
             });
}

// Memory that a thread keeps from call to call. It only grows, so that calls do not allocate.
template <class T>
T* scratch(std::size_t size) {
  thread_local std::vector<T> memory;
  if (memory.size() < size) memory.resize(size);
  return memory.data();
}

// Statistics of a row as they are kept: a plain (mean, m2) in units of x.
struct KeptMoments {
  double count = 0.0, mean = 0.0, m2 = 0.0;
};

KeptMoments keep(const RowMoments& row) {
  return {row.count, row.mean.hi / row.scale, row.m2 / row.scale / row.scale};
}

// Puts each row's statistics where the caller wants them and where the running statistics need
// them.
class MomentsOut {
 public:
  explicit MomentsOut(const Problem& p) : problem_(p) {
    if (p.save_moments != nullptr && p.save_moments != p.moments) {
      saved_ = p.save_moments;
      const auto size = static_cast<std::size_t>(p.rows());
      saved_->N = p.N;
      saved_->C = p.C;
      for (auto* v : {&saved_->count, &saved_->mean, &saved_->m2}) v->resize(size);
    }
    if (p.running_mean.defined() && p.use_input_stats) {
      running_ = scratch<KeptMoments>(static_cast<std::size_t>(p.rows()));
    }
  }

  void set(std::int64_t n, std::int64_t c, const RowMoments& row) const {
    if (saved_ == nullptr && running_ == nullptr) return;
    const KeptMoments kept = keep(row);
    const auto i = static_cast<std::size_t>(n * problem_.C + c);
    if (saved_ != nullptr) {
      saved_->count[i] = kept.count;
      saved_->mean[i] = kept.mean;
      saved_->m2[i] = kept.m2;
    }
    if (running_ != nullptr) running_[i] = kept;
  }

  // Over the instances with at least 2 values, in order; where there are none, nothing changes.
  void update_running_statistics() const {
    if (running_ == nullptr) return;
    const Problem& p = problem_;
    for (std::int64_t c = 0; c < p.C; ++c) {
      double mean = 0.0, var = 0.0, instances = 0.0;
      for (std::int64_t n = 0; n < p.N; ++n) {
        const KeptMoments& row = running_[n * p.C + c];
        if (row.count < 2.0) continue;
        mean += row.mean;
        var += row.m2 / (row.count - 1.0);
        instances += 1.0;
      }
      if (instances == 0.0) continue;
      update(p.running_mean, c, mean / instances);
      update(p.running_var, c, var / instances);
    }
  }

 private:
  void update(const Param& running, std::int64_t c, double value) const {
    std::byte* at = running.at(0, c);
    store_double(at, running.dtype,
                 running_update(value, load_double(at, running.dtype), problem_.momentum));
  }

  const Problem& problem_;
  Moments* saved_ = nullptr;
  KeptMoments* running_ = nullptr;
};

// ---- forward: normalize, denormalize, moments

RowMoments row_moments(const Call& call, std::int64_t n, std::int64_t c, Arithmetic how) {
  BlockSums* sums = scratch<BlockSums>(static_cast<std::size_t>(call.plan.blocks));
  each_block(call.plan, [&](std::int64_t b) { sums[b] = block_moments(call, n, c, b, how); });
  RowMoments row;
  row.scale = how.scale;
  for (std::int64_t b = 0; b < call.plan.blocks; ++b) merge(row, sums[b]);
  finish(row);
  return row;
}

void forward_row(const Call& call, std::int64_t n, std::int64_t c, const MomentsOut& out) {
  const Problem& p = call.problem;
  Arithmetic how;
  RowMoments row;
  if (p.own_statistics()) {
    row = row_moments(call, n, c, how);
    if (!trusted(call, row, how)) row = row_moments(call, n, c, how);
  } else {
    row = given_moments(p, n, c);
  }
  out.set(n, c, row);
  if (!p.y.defined()) return;
  const RowAffine k = row_affine(call, n, c, row, how);
  each_block(call.plan, [&](std::int64_t b) { combine_block(call, n, c, b, k); });
}

// ---- backward

GradientSums row_gradient_sums(const Call& call, std::int64_t n, std::int64_t c, bool wide) {
  GradientSums* parts = scratch<GradientSums>(static_cast<std::size_t>(call.plan.blocks));
  each_block(call.plan,
             [&](std::int64_t b) { parts[b] = block_gradient_sums(call, n, c, b, wide); });
  GradientSums sums;
  for (std::int64_t b = 0; b < call.plan.blocks; ++b) {
    sums.g += parts[b].g;
    sums.gx += parts[b].gx;
  }
  return sums;
}

void backward_row(const Call& call, std::int64_t n, std::int64_t c, ParameterGradients* gradients) {
  bool wide = backward_is_wide(call, n, c);
  GradientSums sums = row_gradient_sums(call, n, c, wide);
  if (!wide && !finite(sums)) sums = row_gradient_sums(call, n, c, wide = true);
  const RowBackward k = row_backward(call, n, c, sums, wide);
  gradients[n * call.problem.C + c] = k.gradients;
  if (!call.problem.y.defined()) return;
  each_block(call.plan, [&](std::int64_t b) { backward_block(call, n, c, b, k); });
}

void store_parameter_gradient(const Problem& p, const Param& out, const ParameterGradients* rows,
                              double ParameterGradients::* which) {
  if (!out.defined()) return;
  for (std::int64_t c = 0; c < p.C; ++c) {
    double sum = 0.0;
    for (std::int64_t n = 0; n < p.N; ++n) {
      const double value = rows[n * p.C + c].*which;
      if (out.per_instance) {
        store_double(out.at(n, c), out.dtype, value);
      } else {
        sum += value;
      }
    }
    if (!out.per_instance) store_double(out.at(0, c), out.dtype, sum);
  }
}

}  // namespace

void run(const Problem& p, const Plan& plan, const KernelTable& kernels) {
  const Call call(p, plan, kernels);
  const auto each_row = [&](const auto& body) {
    on_threads(plan.split == Plan::Split::rows ? plan.threads : 1, p.rows(),
               [&](std::int64_t first, std::int64_t last) {
                 for (std::int64_t r = first; r < last; ++r) body(r / p.C, r % p.C);
               });
  };
  if (p.pass == Pass::backward) {
    auto* gradients = scratch<ParameterGradients>(static_cast<std::size_t>(p.rows()));
    each_row([&](std::int64_t n, std::int64_t c) { backward_row(call, n, c, gradients); });
    store_parameter_gradient(p, p.grad_weight, gradients, &ParameterGradients::weight);
    store_parameter_gradient(p, p.grad_bias, gradients, &ParameterGradients::bias);
  } else {
    const MomentsOut out(p);
    each_row([&](std::int64_t n, std::int64_t c) { forward_row(call, n, c, out); });
    out.update_running_statistics();
  }
}

}  // namespace instnorm::cpu
