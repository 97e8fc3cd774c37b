// Vectors of a processor's width, and the exponential function.

#ifndef BACKBONE_KERNELS_ATTENTION_NATIVE_LANES_H_
#define BACKBONE_KERNELS_ATTENTION_NATIVE_LANES_H_

#include <algorithm>
#include <cstdint>

#ifdef __AVX512F__
#include <immintrin.h>
constexpr long kLanes = 16;
#else
constexpr long kLanes = 8;
#endif

typedef float Lanes
    __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef uint32_t Bits
    __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Lanes& At(float* x) { return *reinterpret_cast<Lanes*>(x); }
inline const Lanes& At(const float* x) {
  return *reinterpret_cast<const Lanes*>(x);
}
inline Lanes Fill(float x) { return x - Lanes{}; }

// `y` where either is NaN.
inline Lanes Larger(Lanes x, Lanes y) {
#ifdef __AVX512F__
  return _mm512_max_ps(x, y);
#else
  return x > y ? x : y;
#endif
}

inline float Highest(Lanes x) {
#ifdef __AVX512F__
  return _mm512_reduce_max_ps(x);
#else
  float highest = x[0];
  for (long i = 1; i < kLanes; ++i) highest = std::max(highest, x[i]);
  return highest;
#endif
}

inline float Sum(Lanes x) {
  float sum = 0;
  for (long i = 0; i < kLanes; ++i) sum += x[i];
  return sum;
}

// e^x for x of at most 88, and 0 below -87.7, where numbers get denormal. As
// 2^n 2^fraction with a fraction of -1/2 to 1/2, by a minimax polynomial (ours)
// with a relative error of 9e-8.
inline Lanes Exp(Lanes x) {
  constexpr float kLog2E = 1.44269504f;
  // 1.5 x 2^23 rounds what is added to it; the last bits are n + 127, the
  // exponent of 2^n, and 0 where n = -127.
  constexpr float kRounding = 12582912.0f + 127;
  const Lanes clipped = Larger(Fill(-88.0f), x);
  const Lanes shifted = clipped * kLog2E + kRounding;
  const Lanes fraction = clipped * kLog2E - (shifted - kRounding);
  Lanes y = fraction * 0.00132647273f + 0.00967151299f;
  y = y * fraction + 0.0555073358f;
  y = y * fraction + 0.240222424f;
  y = y * fraction + 0.693147004f;
  y = y * fraction + 1.0f;
  // Casts of vectors keep their bits.
  return y * (Lanes)((Bits)shifted << 23);
}

#endif
