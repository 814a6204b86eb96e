// How much of the long tests a build can afford.
#pragma once

#include <cstdint>

namespace instnorm::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTNORM_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTNORM_TEST_SANITIZED 1
#endif
#endif

#ifdef INSTNORM_TEST_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Sanitizers cost a factor of 5 to 20 in time: what is meant to be long is that much shorter there,
// and still longer than all blocks and chunks that anything is divided into.
inline constexpr std::int64_t kSanitizedShare = 16;

inline constexpr std::int64_t scaled(std::int64_t length) {
  return kSanitized ? length / kSanitizedShare : length;
}

}  // namespace instnorm::test
