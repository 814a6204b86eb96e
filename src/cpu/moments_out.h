// Where a forward leaves the statistics of its rows: with the caller, and in the running
// statistics.
#pragma once

#include <cstdint>

#include "cpu/row.h"
#include "problem.h"
#include "row_algebra.h"

namespace instnorm::cpu {

class MomentsOut {
 public:
  explicit MomentsOut(const Problem& problem);

  // Safe from several threads on different rows.
  void set(Row row, const RowMoments& moments) const {
    if (wanted()) keep(row, moments);
  }
  bool wanted() const { return saved_ != nullptr || running_ != nullptr; }

  // Once, after the last row.
  void update_running_statistics() const;

 private:
  void keep(Row row, const RowMoments& moments) const;
  void update(const Param& running, std::int64_t c, double mean_of_new) const;

  const Problem& problem_;
  Moments* saved_ = nullptr;
  KeptMoments* running_ = nullptr;
};

}  // namespace instnorm::cpu
