// instnorm moments: statistics of a file, as a table and as a file.
#include <instnorm/functional.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "blocks.h"
#include "commands.h"
#include "errors.h"
#include "moments_file.h"
#include "npy_input.h"
#include "row_algebra.h"
#include "text.h"

namespace instnorm::cli {
namespace {

// More lines than a terminal shows at once help nobody; the file that -o writes has every row.
constexpr std::int64_t kMostLines = 32;

// The rows of a channel, or of all of them.
struct Summary {
  std::int64_t rows = 0, constant = 0, not_finite = 0;
  RowMoments values;  // of all values of the finite rows

  void add(double count, double mean, double m2) {
    ++rows;
    if (!std::isfinite(mean) || !std::isfinite(m2)) {
      ++not_finite;
      return;
    }
    constant += m2 == 0.0;
    merge(values, {.count = count, .centre = mean, .s = 0.0, .q = m2, .constant = false});
  }

  void add(const Summary& other) {
    rows += other.rows;
    constant += other.constant;
    not_finite += other.not_finite;
    RowMoments theirs = other.values;
    finish(theirs);
    if (theirs.count == 0.0) return;
    merge(values, {theirs.count, theirs.mean.hi, 0.0, theirs.m2, false});
  }

  std::string line(const std::string& channel) const {
    RowMoments m = values;
    finish(m);
    const bool any = m.count > 0.0;
    return right(channel, 9) + right(std::to_string(rows), 11) +
           right(any ? number("%.6g", m.mean.hi) : "-", 15) +
           right(any ? number("%.6g", std::sqrt(m.variance())) : "-", 15) +
           right(std::to_string(constant), 11) + right(std::to_string(not_finite), 11) + "\n";
  }
};

std::string table(const NpyInput& input, const std::vector<Summary>& channels) {
  const NpyHeader& header = input.header();
  std::string s = std::string(name(header.dtype)) + " " +
                  Dims(header.shape.data(), header.shape.size()).str() +
                  ": N = " + std::to_string(input.N()) + ", C = " + std::to_string(input.C()) +
                  ", L = " + std::to_string(input.L()) + "\n";
  if (input.empty()) return s + "no values\n";
  s += right("channel", 9) + right("rows", 11) + right("mean", 15) + right("std", 15) +
       right("constant", 11) + right("NaN/Inf", 11) + "\n";
  Summary all;
  for (const Summary& channel : channels) all.add(channel);
  if (input.C() <= kMostLines) {
    for (std::size_t c = 0; c < channels.size(); ++c) s += channels[c].line(std::to_string(c));
  }
  return s + all.line("all");
}

void run(const MomentsOptions& o) {
  NpyInput input(o.input, o.data_format);
  std::optional<MomentsOutput> output;
  if (!o.output.empty()) output.emplace(o.output, input.N(), input.C(), o.force);
  std::vector<Summary> channels(static_cast<std::size_t>(input.empty() ? 0 : input.C()));
  each_block(input, 0, [&](std::int64_t first, const View& x) {
    const Moments m = instnorm::moments(x, {.data_format = o.data_format});
    if (output) output->write(first, m);
    for (std::size_t i = 0; i < m.count.size(); ++i) {
      channels[i % channels.size()].add(m.count[i], m.mean[i], m.m2[i]);
    }
  });
  if (output && input.empty() && input.C() > 0) {
    const Moments none = Moments::empty(1, input.C());
    for (std::int64_t n = 0; n < input.N(); ++n) output->write(n, none);
  }
  print(table(input, channels));
  if (output) output->commit();
}

}  // namespace

void moments(const MomentsOptions& options) {
  blaming(options.input, [&] { run(options); });
}

}  // namespace instnorm::cli
