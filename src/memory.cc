#include "memory.h"

#include <instnorm/runtime.h>

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "remembered.h"

namespace instnorm {
namespace {

// Where the system has huge pages, one fault brings this much.
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kDefaultMegabytes = 512;

struct Block {
  void* data;
  std::size_t bytes;
};

std::size_t rounded(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// What take_memory(bytes) maps: larger blocks in whole huge pages.
std::size_t mapped(std::size_t bytes) {
  return rounded(bytes, bytes < 2 * kHugePage ? std::size_t{4096} : kHugePage);
}

// Null without memory.
void* map(std::size_t bytes) {
  // As much more as it takes to begin with a huge page; the rest goes back.
  const std::size_t all = bytes + kHugePage;
  void* start = ::mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  const std::size_t before =
      (kHugePage - reinterpret_cast<std::uintptr_t>(start) % kHugePage) % kHugePage;
  auto* data = static_cast<std::byte*>(start) + before;
  if (before > 0) ::munmap(start, before);
  if (before < kHugePage) ::munmap(data + bytes, kHugePage - before);
#ifdef MADV_HUGEPAGE
  ::madvise(data, bytes, MADV_HUGEPAGE);  // a wish
#endif
  return data;
}

std::size_t bound_from_environment() {
  const char* text = std::getenv("INSTNORM_KEEP_MEMORY");
  std::size_t megabytes = kDefaultMegabytes;
  if (text != nullptr && *text != '\0') {
    const char* end = text + std::strlen(text);
    const auto [rest, error] = std::from_chars(text, end, megabytes);
    if (error != std::errc() || rest != end || megabytes > SIZE_MAX >> 20) {
      throw std::invalid_argument(std::string("INSTNORM_KEEP_MEMORY=") + text +
                                  " is not a number of megabytes");
    }
  }
  return megabytes << 20;
}

std::size_t bound() {
  static constinit Remembered<std::size_t, SIZE_MAX> bytes;
  return bytes.or_else(bound_from_environment);
}

// Who wants a block and finds it locked goes on without it.
class Kept {
 public:
  // A block of so many bytes, the last that was given, else null.
  void* take(std::size_t bytes) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return nullptr;
    const auto last = std::find_if(blocks_.rbegin(), blocks_.rend(),
                                   [&](const Block& b) { return b.bytes == bytes; });
    if (last == blocks_.rend()) return nullptr;
    void* data = last->data;
    total_ -= last->bytes;
    blocks_.erase(std::next(last).base());
    return data;
  }

  // Returns whether it is kept. The oldest blocks make room for it.
  bool give(Block block, std::size_t bound) noexcept {
    if (block.bytes > bound) return false;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    try {
      blocks_.push_back(block);
    } catch (const std::bad_alloc&) {
      return false;
    }
    total_ += block.bytes;
    std::size_t gone = 0;
    while (total_ > bound) {
      total_ -= blocks_[gone].bytes;
      ::munmap(blocks_[gone].data, blocks_[gone].bytes);
      ++gone;
    }
    blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(gone));
    return true;
  }

  // So that no thread of the parent holds it in the child of a fork, where nobody would let it go.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

  std::size_t release() {
    const std::unique_lock lock(mutex_);
    const std::size_t all = total_;
    for (const Block& block : blocks_) ::munmap(block.data, block.bytes);
    blocks_.clear();
    total_ = 0;
    return all;
  }

 private:
  std::mutex mutex_;
  std::vector<Block> blocks_;  // oldest first
  std::size_t total_ = 0;
};

Kept& kept() noexcept;

Kept& make_kept() noexcept {
  // Never destroyed: results may be freed after static objects are.
  alignas(Kept) static std::byte memory[sizeof(Kept)];
  Kept& made = *::new (memory) Kept();
  pthread_atfork([] { kept().lock(); }, [] { kept().unlock(); }, [] { kept().unlock(); });
  return made;
}

Kept& kept() noexcept {
  static Kept& kept = make_kept();
  return kept;
}

// Made before there are threads, one of which could be making it at a fork.
[[maybe_unused]] const Kept& made_early = kept();

}  // namespace

bool keeps_memory() { return bound() > 0; }

void* take_memory(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  const std::size_t size = mapped(bytes);
  if (keeps_memory()) {
    if (void* data = kept().take(size)) return data;
  }
  void* data = map(size);
  // What is missing may be what nobody uses.
  if (data == nullptr && release_memory() > 0) data = map(size);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

void give_memory(void* data, std::size_t bytes) noexcept {
  const std::size_t size = mapped(bytes);
  if (!kept().give({data, size}, bound())) ::munmap(data, size);
}

std::int64_t release_memory() { return static_cast<std::int64_t>(kept().release()); }

}  // namespace instnorm
