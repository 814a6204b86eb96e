// A stream of chunks, each normalised by the moments of all values so far.
#include <instnorm/instnorm.h>

#include <cstdint>
#include <cstdio>
#include <vector>

int main() {
  const std::vector<float> signal = {1, 3, 1, 3, 2, 2, 6, 6, 10};
  instnorm::Moments heard = instnorm::Moments::empty(1, 1);
  for (std::size_t first = 0; first < signal.size(); first += 3) {
    const std::int64_t length = 3;
    const auto chunk = instnorm::view(signal.data() + first, {1, length});  // (C, L)
    heard = heard.merge(instnorm::moments(chunk));
    std::vector<float> y(length);
    instnorm::instance_norm(chunk, instnorm::view(y, {1, length}), {.moments = &heard});
    for (const float value : y) std::printf("%.2f ", static_cast<double>(value));
  }
  std::printf("\nmean %.4f, std %.4f of %.0f values", heard.mean[0], heard.std()[0],
              heard.count[0]);
}
