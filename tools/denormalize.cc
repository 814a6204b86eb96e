// instnorm denormalize: the way back from a normalised file.
#include <instnorm/functional.h>

#include <optional>
#include <string>

#include "atomic_file.h"
#include "blocks.h"
#include "commands.h"
#include "errors.h"
#include "moments_file.h"
#include "npy_input.h"
#include "state.h"

namespace instnorm::cli {

namespace {

void run(const DenormalizeOptions& o) {
  NpyInput input(o.input, o.data_format);
  MomentsInput moments(o.moments, input.N(), input.C());
  std::optional<State> state;
  instnorm::DenormalizeOptions options;
  if (!o.state.empty()) {
    state.emplace(o.state, o.prefix, input.C(), input.dtype());
    options.weight = state->parameter("weight");
    options.bias = state->parameter("bias");
  }
  options.eps = o.eps;
  options.data_format = o.data_format;
  AtomicFile output(o.output, o.force);
  const std::string header = make_npy_header(input.dtype(), input.header().shape);
  output.write(header.data(), header.size());
  Destination destination;
  each_block(input, 0, [&](std::int64_t first, const View& y) {
    const View x = destination.of(y);
    instnorm::denormalize(y, moments.read(first, input.batched() ? y.shape[0] : 1), x, options);
    output.write(x.data, static_cast<std::size_t>(x.shape.product() * size_of(x.dtype)));
  });
  output.commit();
}

}  // namespace

void denormalize(const DenormalizeOptions& options) {
  blaming(options.input, [&] { run(options); });
}

}  // namespace instnorm::cli
