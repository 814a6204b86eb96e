// Any call that the bytes describe (shape, dtype, strides, options; forward and backward) gives
// what the textbook gives, and touches no other memory. On the instruction set of this process
// (INSTNORM_CPU_TARGET; exits with 75 if this machine does not have it). With INSTNORM_DIGESTS=FILE
// a hash of what each call gives is added to that file instead, to be compared with that of another
// instruction set.
#include <gtest/gtest.h>
#include <instnorm/runtime.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iterator>
#include <string>
#include <vector>

#include "extras_calls.h"

namespace instnorm::test {
namespace {

// What the bytes say, one after the other; 0 where there are no more.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::int64_t number() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  bool yes() { return number() % 2 != 0; }
  template <class List>
  auto of(const List& list) {
    return list[static_cast<std::size_t>(number()) % std::size(list)];
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

// Rows around the lengths of vectors, and of one block and two.
std::int64_t length(Choices& choices) {
  static constexpr std::int64_t kLong[] = {256, 512, 1024, 2048, 4096, 8192};
  const std::int64_t n = choices.number();
  return n < 250 ? 1 + n % 140 : choices.of(kLong) + choices.number() % 5 - 2;
}

ExtrasCase call_of(Choices& choices) {
  static constexpr DType kDTypes[] = {DType::float16, DType::bfloat16, DType::float32,
                                      DType::float64};
  static constexpr NormalisedBy kBy[] = {NormalisedBy::own, NormalisedBy::running,
                                         NormalisedBy::given};
  ExtrasCase c;
  c.dtype = choices.of(kDTypes);
  c.L = length(choices);
  c.N = 1 + choices.number() % 5;
  c.C = 1 + choices.number() % (c.L < 200 ? 40 : 3);
  c.batched = choices.yes();
  if (!c.batched) c.N = 1;
  c.where = choices.of(kWhere);
  c.omit = choices.yes();
  if (choices.yes()) c.format = DataFormat::NLC;
  c.parameters = choices.of(kGiven);
  c.activation = choices.of(kActivations);
  c.by = choices.of(kBy);
  c.pattern = choices.of(kOutputPatterns);
  c.in_place = choices.yes();
  if (c.parameters != Given::absent && choices.yes()) c.weight_offset = 1.0;
  return c;
}

// FNV-1a of numbers; all NaN are one.
class Digest {
 public:
  void add(const std::vector<double>& values) {
    for (const double value : values) {
      const std::uint64_t bits = std::isnan(value) ? 1 : std::bit_cast<std::uint64_t>(value);
      hash_ = (hash_ ^ bits) * 0x100000001b3u;
    }
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

std::uint64_t digest_of(ExtrasCall& call) {
  Digest digest;
  Array x = call.array(call.x), g = call.array(call.g);
  Array y(call.c.dtype, call.shape(), call.c.pattern), dx(call.c.dtype, call.shape());
  instance_norm(x.view(), y.view(), call.options());
  digest.add(y.values());
  for (const std::vector<double>* of : {&call.saved.count, &call.saved.mean, &call.saved.m2}) {
    digest.add(*of);
  }
  instance_norm_backward(x.view(), g.view(), call.saved, {.grad_input = dx.view()},
                         call.backward_options());
  digest.add(dx.values());
  return digest.value();
}

void write_digest(const char* path, std::uint64_t digest) {
  std::ofstream file(path, std::ios::app);
  file << std::hex << std::setw(16) << std::setfill('0') << digest << '\n' << std::flush;
  if (!file) std::abort();
}

bool is_here(const std::string& target) {
  const std::vector<std::string> here = available_cpu_targets();
  return target.empty() || std::find(here.begin(), here.end(), target) != here.end();
}

}  // namespace
}  // namespace instnorm::test

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  const char* target = std::getenv("INSTNORM_CPU_TARGET");
  if (target != nullptr && !instnorm::test::is_here(target)) std::_Exit(75);
  testing::InitGoogleTest(argc, *argv);
  GTEST_FLAG_SET(throw_on_failure, true);  // what is not as expected ends the fuzzer
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace instnorm::test;
  Choices choices(data, size);
  const ExtrasCase c = call_of(choices);
  if (c.L == 1 && c.where == Where::all && !c.omit) return 0;  // an error
  ExtrasCall call(c, static_cast<std::uint64_t>(choices.number()));
  call.reference.any_values = true;
  if (const char* path = std::getenv("INSTNORM_DIGESTS")) {
    write_digest(path, digest_of(call));
  } else {
    call.check();
  }
  return 0;
}
