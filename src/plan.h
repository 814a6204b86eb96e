// How a problem is run: a pure function of the problem and of what the machine offers, and
// printable.
#pragma once

#include <cstdint>
#include <string>

#include "problem.h"

namespace instnorm {

// What the plan may know of the machine and of the moment.
struct Machine {
  const char* target = "";  // instruction set, as cpu_target() names it
  int threads = 1;          // that may be used
  // Has the instruction set vectors of a fixed size? The kernels that take several rows at a time,
  // or rows that are columns, need that.
  bool vectors = true;
};

// Most rows of a tile; what is known of them lies on the stack.
inline constexpr std::int64_t kTileRows = 128;

// As many more have room there: kernels take the rows of a tile by whole vectors.
inline constexpr std::int64_t kSpareRows = 7;

struct Plan {
  enum class Split {
    rows,    // each thread takes whole rows
    blocks,  // all threads share each row, block by block
  };
  Split split = Split::rows;
  int threads = 1;
  std::int64_t block = 0;      // elements of a block
  std::int64_t blocks = 0;     // blocks of a row
  bool stream = false;         // stores that bypass the caches
  bool dense = true;           // rows are dense in memory; otherwise tiles are copied to and fro
  std::int64_t tile_rows = 1;  // rows that a kernel takes at a time, if they are one block each
  bool across_instances =
      false;             // such rows may be of two instances: one step leads from each to the next
  bool columns = false;  // rows are columns of memory: as many at a time as lie beside each other
  bool overlap = false;  // the statistics of rows are taken beside the stores of those before them
  std::int64_t bytes = 0;  // read and written, once
  // Why, one phrase for each decision.
  const char *why_split = "", *why_threads = "", *why_stores = "";
};

Plan make_plan(const Problem& problem, const Machine& machine);

// One line for each decision.
std::string to_string(const Plan& plan, const Problem& problem, const Machine& machine);

}  // namespace instnorm
