// Work shared among threads: the only file with a parallel region of OpenMP.
#pragma once

#include <hwy/cache_control.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>

#include "cpu/threads.h"

namespace instnorm::cpu {

// Runs body(first, last) on each thread's share of [0, n): the same shares for the same n. What a
// body throws (no memory) is thrown to the caller. What it streamed is in order before what its
// thread does next: without a fence, streaming stores are not.
template <class Body>
void on_threads(int threads, std::int64_t n, const Body& body) {
  if (threads <= 1 || !can_start(threads)) {
    body(std::int64_t{0}, n);
    hwy::FlushStream();
    return;
  }
  note_threads_used();
  std::exception_ptr thrown;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; ++t) {
    try {
      body(n * t / threads, n * (t + 1) / threads);
      hwy::FlushStream();
    } catch (...) {
#pragma omp critical(instnorm_thrown)
      thrown = std::current_exception();
    }
  }
  if (thrown) std::rethrow_exception(thrown);
}

// Memory that a thread keeps from call to call, one block for each T and Purpose. It only grows, so
// that calls do not allocate.
template <class T, class Purpose = void>
T* scratch(std::size_t size) {
  struct Memory {
    std::unique_ptr<T[]> data;
    std::size_t size = 0;
  };
  thread_local Memory memory;
  if (memory.size < size) {
    memory.data = std::make_unique<T[]>(size);
    memory.size = size;
  }
  return memory.data.get();
}

}  // namespace instnorm::cpu
