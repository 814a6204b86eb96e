// count_probe [forward|backward DTYPE NCL|NLC N C L]...: those calls, for a program that counts
// instructions. Without arguments: the compiler, whose code is counted.
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "dtype.h"

namespace instnorm::test {
namespace {

// A saw tooth: as good as any signal to count by, and nothing of it is constant.
Tensor signal(const Dims& shape, DType dtype) {
  Tensor t(shape, dtype);
  auto* at = static_cast<std::byte*>(t.data());
  for (std::int64_t i = 0; i < t.numel(); ++i, at += size_of(dtype)) {
    store_double(at, dtype, static_cast<double>(i % 37) / 8.0);
  }
  return t;
}

struct Arguments {
  bool forward;
  const Tensor& x;
  Tensor& y;
  const Moments& m;
  DataFormat format;
};

void call(const Arguments& a) {
  if (a.forward) {
    instance_norm(a.x, a.y, {.data_format = a.format});
  } else {
    instance_norm_backward(a.x, a.x, a.m, {.grad_input = a.y}, {.data_format = a.format});
  }
}

// What is counted, by this name.
__attribute__((noinline)) void counted_call(const Arguments& a) {
  call(a);
  asm volatile("" ::: "memory");  // no jump in the place of the call
}

// Not inlined: what is counted is written down at its end.
__attribute__((noinline)) void probe(const std::vector<std::string>& words) {
  const DType dtype = words[1] == "float64"    ? DType::float64
                      : words[1] == "float32"  ? DType::float32
                      : words[1] == "bfloat16" ? DType::bfloat16
                                               : DType::float16;
  const bool last = words[2] == "NLC";
  const std::int64_t N = std::stoll(words[3]), C = std::stoll(words[4]), L = std::stoll(words[5]);
  const DataFormat format = last ? DataFormat::NLC : DataFormat::NCL;
  const Dims shape = last ? Dims{N, L, C} : Dims{N, C, L};
  const Tensor x = signal(shape, dtype);
  Tensor y(shape, dtype);
  Moments m;
  set_num_threads(1);
  instance_norm(x, y, {.data_format = format, .save_moments = &m});
  const Arguments arguments{words[0] == "forward", x, y, m, format};
  call(arguments);  // what the first call does besides is not counted
  counted_call(arguments);
}

}  // namespace
}  // namespace instnorm::test

int main(int argc, char** argv) {
  if (argc == 1) return std::puts(__VERSION__) < 0;
  constexpr int kWords = 6;
  if (argc % kWords != 1) return 2;
  for (char** word = argv + 1; word < argv + argc; word += kWords) {
    instnorm::test::probe({word, word + kWords});
  }
}
