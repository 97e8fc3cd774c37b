// Between arrays [B, T, H, width] and panels, and memory for the latter.

#ifndef BACKBONE_KERNELS_ATTENTION_NATIVE_PACKING_H_
#define BACKBONE_KERNELS_ATTENTION_NATIVE_PACKING_H_

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <vector>

#include "products.h"

// One head of an array [B, T, H, width].
template <typename T>
struct Head {
  T* data;
  long stride, width;

  operator Head<const T>() const { return {data, stride, width}; }
};

// Tokens [begin, begin + count), in rows of x.width; zeros up to `rows`.
inline void PackRows(Head<const float> x, long begin, long count, long rows,
                     float* packed) {
  for (long i = 0; i < count; ++i) {
    std::copy_n(x.data + (begin + i) * x.stride, x.width, packed + i * x.width);
  }
  std::fill(packed + count * x.width, packed + rows * x.width, 0.0f);
}

// Tokens [begin, begin + count) as `packed`, zeros beyond.
inline void Pack(Head<const float> x, long begin, long count, Panels packed) {
  for (long j = 0; j < x.width; j += kPanel) {
    const long width = std::min(kPanel, x.width - j);
    std::fill_n(packed.From(0, j), packed.rows * kPanel, 0.0f);
    for (long i = 0; i < count; ++i) {
      std::copy_n(x.data + (begin + i) * x.stride + j, width,
                  packed.From(i, j));
    }
  }
}

// All tokens transposed, x.width rows, and scaled; zeros beyond.
inline void PackTransposed(Head<const float> x, long count, long columns,
                           float scale, Panels packed) {
  for (long start = 0; start < columns; start += kPanel) {
    float* panel = packed.From(0, start);
    const float* tokens = x.data + start * x.stride;
    const long filled = std::min(kPanel, count - start);
    std::fill_n(panel, kPanel * x.width, 0.0f);
    for (long j = 0; j < x.width; ++j) {
      for (long i = 0; i < filled; ++i) {
        panel[j * kPanel + i] = scale * tokens[i * x.stride + j];
      }
    }
  }
}

// Row `row` of `packed`, scaled, to token `token`.
inline void Unpack(Panels packed, long row, float scale, Head<float> x,
                   long token) {
  float* out = x.data + token * x.stride;
  for (long j = 0; j < x.width; ++j) {
    out[j] = scale * packed.From(row, j / kPanel * kPanel)[j % kPanel];
  }
}

inline float Dot(Head<const float> x, Head<const float> y, long token) {
  const float *a = x.data + token * x.stride, *b = y.data + token * y.stride;
  float sum = 0;
  for (long j = 0; j < x.width; ++j) sum += a[j] * b[j];
  return sum;
}

// Memory of this thread, kept from call to call; one user at a time.
class Scratch {
 public:
  // `size` floats, to be taken in at most 15 parts.
  static Scratch& Sized(long size) {
    thread_local Scratch scratch;
    size += 16 * kLine;
    if (static_cast<long>(scratch.memory_.size()) < size) {
      scratch.memory_.resize(size);
    }
    scratch.next_ = scratch.memory_.data();
    return scratch;
  }
  // From the start of a line of the cache.
  float* Take(long size) {
    const auto address = reinterpret_cast<uintptr_t>(next_);
    float* start = next_ + (-address % (4 * kLine)) / 4;
    next_ = start + size;
    assert(next_ <= memory_.data() + memory_.size());
    return start;
  }

 private:
  static constexpr long kLine = 16;
  std::vector<float> memory_;
  float* next_;
};

#endif
