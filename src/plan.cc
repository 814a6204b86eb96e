#include "plan.h"

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/tile.h"
#include "dtype.h"

namespace instnorm {
namespace {

// A fork and join costs 1 to 6 us with threads at hand: with less than this for each thread, one of
// them alone is faster (docs/performance.md).
constexpr std::int64_t kBytesPerThread = 384 * 1024;

// From this much read and written on, streaming stores pay, by one thread and by several; below,
// the reader of y finds it in the cache (docs/performance.md).
constexpr std::int64_t kStreamBytes = 12'000'000;

// A tile of rows is summed and then combined: what was read must still be in the first-level cache.
constexpr std::int64_t kTileBytes = 16 * 1024;

// Of rows from memory that are overlapped, in the second-level one. Between two tiles nothing is
// read, for as long as memory takes to answer: the fewer the better (docs/performance.md).
constexpr std::int64_t kTileBytesStreamed = 64 * 1024;

// From this much in a row on, its statistics are taken beside the stores of the row before. Shorter
// rows are faster as one run, and that still more so where stores are streamed: a line that two
// rows share is then not written in two parts.
constexpr std::int64_t kOverlapStored = 768;
constexpr std::int64_t kOverlapStreamed = 2048;

template <class Predicate>
bool all_operands(const Problem& p, const Predicate& holds) {
  for (const Rows* rows : {&p.x, &p.g, &p.u, &p.y, &p.grad_g}) {
    if (rows->defined() && !holds(*rows)) return false;
  }
  return true;
}

// A streaming store needs an address that is whole vectors, which one between elements never is.
bool aligned(const Rows& rows, std::int64_t size) {
  if (!rows.defined()) return true;
  const auto address = reinterpret_cast<std::uintptr_t>(rows.row(0, 0));
  return address % static_cast<std::uintptr_t>(size) == 0 && rows.stride_n % size == 0 &&
         rows.stride_c % size == 0;
}

}  // namespace

Plan make_plan(const Problem& p, const Machine& machine) {
  Plan plan;
  const std::int64_t size = size_of(p.dtype);
  const std::int64_t compute_size = std::max<std::int64_t>(size, 4);
  // A division takes as long as a tiny call's sums: those that say nothing are left out.
  plan.block = compute_size == 4 ? cpu::kBlockBytes / 4 : cpu::kBlockBytes / 8;
  plan.blocks = p.L <= plan.block ? (p.L > 0 ? 1 : 0) : (p.L + plan.block - 1) / plan.block;
  plan.dense = all_operands(p, [&](const Rows& rows) { return cpu::dense(rows, size); });
  plan.across_instances =
      plan.dense && !p.lengths.defined() &&
      all_operands(p, [&](const Rows& rows) { return cpu::row_step(rows, p.N, p.C) != 0; });
  const std::int64_t row_bytes = std::max<std::int64_t>(1, p.L * size);
  const int operands = 1 + p.g.defined() + p.u.defined() + p.y.defined() + p.grad_g.defined();
  plan.bytes = p.rows() * p.L * size * operands;

  // One thread or all of them: OpenMP's runtime ends the threads that a smaller team leaves over,
  // with all that they keep, and starts them anew for the next larger one.
  const bool worth = plan.bytes >= 2 * kBytesPerThread;
  plan.threads = worth ? machine.threads : 1;
  plan.why_threads = worth ? "all that may be used" : "too small to share";
  if (p.rows() >= plan.threads) {
    plan.why_split = plan.threads > 1 ? "a row or more for each thread" : "one thread";
  } else if (plan.blocks >= plan.threads) {
    plan.split = Plan::Split::blocks;
    plan.why_split = "fewer rows than threads";
  } else {
    plan.why_split = "fewer rows than threads, too short to share";
  }

  plan.columns = machine.vectors && !plan.dense && p.pass != Pass::double_backward &&
                 plan.split == Plan::Split::rows && !p.selects() &&
                 !(p.g.defined() && p.activation != Activation::none) &&
                 all_operands(p, [&](const Rows& rows) { return cpu::columns(rows, p.C, size); });

  if (!p.y.defined() && !p.grad_g.defined()) {
    plan.why_stores = "nothing is stored";
  } else if (p.in_place) {
    plan.why_stores = "in place";
  } else if (!plan.dense && !plan.columns) {
    plan.why_stores = "rows are copied";
  } else if (!aligned(p.y, size) || !aligned(p.grad_g, size)) {
    plan.why_stores = "elements are not aligned";
  } else if (plan.bytes < kStreamBytes) {
    plan.why_stores = "the output may stay in the cache";
  } else {
    plan.stream = true;
    plan.why_stores = "more than the caches hold";
  }
  const bool by_own_moments = p.pass == Pass::normalize  ? p.own_statistics()
                              : p.pass == Pass::backward ? p.use_input_stats
                                                         : false;
  plan.overlap = machine.vectors && by_own_moments && plan.dense && p.y.defined() &&
                 p.activation == Activation::none && plan.split == Plan::Split::rows &&
                 !p.selects() && row_bytes >= (plan.stream ? kOverlapStreamed : kOverlapStored);
  if (p.rows() > 1) {
    const std::int64_t tile_bytes = plan.overlap && plan.stream ? kTileBytesStreamed : kTileBytes;
    plan.tile_rows =
        plan.columns ? kTileRows : std::clamp<std::int64_t>(tile_bytes / row_bytes, 1, kTileRows);
  }
  return plan;
}

std::string to_string(const Plan& plan, const Problem& p, const Machine& machine) {
  const auto line = [](const char* what, const std::string& value, const std::string& why) {
    return std::string(what) + value + (why.empty() ? "" : " (" + why + ")") + "\n";
  };
  const auto number = [](std::int64_t v) { return std::to_string(v); };
  std::string s;
  s += line("problem  ",
            "N=" + number(p.N) + " C=" + number(p.C) + " L=" + number(p.L) + " " + name(p.dtype),
            number(plan.bytes) + " bytes read and written");
  s += line("target   ", machine.target, "");
  s += line("rows     ",
            plan.dense     ? "dense"
            : plan.columns ? "columns of memory"
                           : "copied block by block",
            number(plan.blocks) + " block" + (plan.blocks == 1 ? "" : "s") + " of up to " +
                number(plan.block) + " elements each");
  s += line("split    ", plan.split == Plan::Split::rows ? "whole rows" : "blocks of each row",
            plan.why_split);
  s += line("threads  ", number(plan.threads) + " of " + number(machine.threads), plan.why_threads);
  s += line("order    ", plan.overlap ? "overlapped" : "one after the other",
            plan.overlap ? "statistics of the next beside the stores of this" : "");
  s += line("stores   ", plan.stream ? "streaming" : "ordinary", plan.why_stores);
  return s;
}

}  // namespace instnorm
