#include "cpu/moments_out.h"

#include <new>

#include "cpu/parallel.h"
#include "dtype.h"

namespace instnorm::cpu {

MomentsOut::MomentsOut(const Problem& p) : problem_(p) {
  const auto size = static_cast<std::size_t>(p.rows());
  // Whatever has no memory leaves the caller's moments as they were.
  if (p.running_mean.defined() && p.use_input_stats) running_ = scratch<KeptMoments>(size);
  if (p.save_moments == nullptr || p.save_moments == p.moments) return;
  saved_ = p.save_moments;
  if (size > saved_->count.max_size()) throw std::bad_alloc();
  for (auto* v : {&saved_->count, &saved_->mean, &saved_->m2}) v->reserve(size);
  for (auto* v : {&saved_->count, &saved_->mean, &saved_->m2}) v->resize(size);
  saved_->N = p.N;
  saved_->C = p.C;
}

void MomentsOut::keep(Row row, const RowMoments& moments) const {
  const KeptMoments kept = instnorm::keep(moments);
  const auto i = static_cast<std::size_t>(row.index(problem_));
  if (saved_ != nullptr) {
    saved_->count[i] = kept.count;
    saved_->mean[i] = kept.mean;
    saved_->m2[i] = kept.m2;
  }
  if (running_ != nullptr) running_[i] = kept;
}

void MomentsOut::update_running_statistics() const {
  if (running_ == nullptr) return;
  const Problem& p = problem_;
  for (std::int64_t c = 0; c < p.C; ++c) {
    RunningSums sums;
    for (std::int64_t n = 0; n < p.N; ++n) sums.add(running_[n * p.C + c]);
    if (sums.instances == 0.0) continue;
    update(p.running_mean, c, sums.mean / sums.instances);
    update(p.running_var, c, sums.var / sums.instances);
  }
}

void MomentsOut::update(const Param& running, std::int64_t c, double mean_of_new) const {
  std::byte* at = running.at(0, c);
  const double old = load_double(at, running.dtype);
  store_double(at, running.dtype, running_update(mean_of_new, old, problem_.momentum));
}

}  // namespace instnorm::cpu
