// Drives InstanceNorm1d from the tests in Python, which know PyTorch.
//
//   module_io NUM_FEATURES EPS MOMENTUM AFFINE BIAS TRACK DTYPE COMMAND...
//
// AFFINE, BIAS and TRACK are 0 or 1. Commands: load PATH, save PATH, train, eval,
// forward IN.safetensors OUT.safetensors (tensor "x" to tensor "y").
#include <instnorm/module.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "safetensors.h"

namespace instnorm {
namespace {

void forward(InstanceNorm1d& module, const std::string& in, const std::string& out) {
  const StoredTensors file = read_safetensors(in);
  const StoredTensor& x = file.at("x");
  const Dims shape(x.shape.data(), x.shape.size());
  StoredTensor y = x;
  module.forward(
      view(static_cast<const void*>(x.data.data()), dtype_of_safetensors(x.dtype).value(), shape),
      view(static_cast<void*>(y.data.data()), dtype_of_safetensors(x.dtype).value(), shape));
  write_safetensors(out, {{"y", y}});
}

void run(const std::vector<std::string>& args) {
  InstanceNorm1d module({.num_features = std::stoll(args.at(0)),
                         .eps = std::stod(args.at(1)),
                         .momentum = std::stod(args.at(2)),
                         .affine = args.at(3) == "1",
                         .track_running_stats = args.at(5) == "1",
                         .dtype = dtype_of_safetensors(args.at(6)).value(),
                         .bias = args.at(4) == "1"});
  for (std::size_t i = 7; i < args.size(); ++i) {
    if (args[i] == "load") {
      module.load(args.at(++i));
    } else if (args[i] == "save") {
      module.save(args.at(++i));
    } else if (args[i] == "train") {
      module.train();
    } else if (args[i] == "eval") {
      module.eval();
    } else if (args[i] == "forward") {
      forward(module, args.at(i + 1), args.at(i + 2));
      i += 2;
    } else {
      throw std::invalid_argument("no such command: " + args[i]);
    }
  }
}

}  // namespace
}  // namespace instnorm

int main(int argc, char** argv) {
  try {
    instnorm::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    (void)std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
