// Products of packed matrices, and the exponential function, in vectors.

#ifndef BACKBONE_KERNELS_ATTENTION_NATIVE_PRODUCTS_H_
#define BACKBONE_KERNELS_ATTENTION_NATIVE_PRODUCTS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

// As many rows to a tile as the registers hold beside the right operand.
#ifdef __AVX512F__
constexpr long kLanes = 16, kRows = 8;
#else
constexpr long kLanes = 8, kRows = 4;
#endif
// Packed matrices have whole panels of columns and whole tiles of rows.
constexpr long kPanel = 2 * kLanes;

typedef float Lanes
    __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t IntLanes
    __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Lanes& At(float* x) { return *reinterpret_cast<Lanes*>(x); }
inline const Lanes& At(const float* x) {
  return *reinterpret_cast<const Lanes*>(x);
}
inline Lanes Fill(float x) { return x - Lanes{}; }
inline long RoundUp(long n, long unit) { return (n + unit - 1) / unit * unit; }

// `y` where either is no number.
#ifdef __AVX512F__
inline Lanes Larger(Lanes x, Lanes y) { return _mm512_max_ps(x, y); }
inline float Highest(Lanes x) { return _mm512_reduce_max_ps(x); }
#else
inline Lanes Larger(Lanes x, Lanes y) { return x > y ? x : y; }
inline float Highest(Lanes x) {
  float highest = x[0];
  for (long i = 1; i < kLanes; ++i) highest = std::max(highest, x[i]);
  return highest;
}
#endif
inline float Sum(Lanes x) {
  float sum = 0;
  for (long i = 0; i < kLanes; ++i) sum += x[i];
  return sum;
}

// e^x for x of at most 88, and e^-69 below: of nothing that counts, and no
// denormal number. As 2^n 2^fraction, of a fraction of -1/2 to 1/2, by a
// minimax polynomial (ours) with a relative error of 9e-8.
inline Lanes Exp(Lanes x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kRounding = 12582912.0f;  // 1.5 x 2^23.
  const Lanes clipped = Larger(Fill(-69.0f), x);
  const Lanes shifted = clipped * kLog2E + kRounding;
  const Lanes fraction = clipped * kLog2E - (shifted - kRounding);
  Lanes y = fraction * 0.00132647273f + 0.00967151299f;
  y = y * fraction + 0.0555073358f;
  y = y * fraction + 0.240222424f;
  y = y * fraction + 0.693147004f;
  y = y * fraction + 1.0f;
  // A cast of vectors keeps their bits.
  return (Lanes)((IntLanes)y + ((IntLanes)shifted << 23));
}

// The left operand of a product, with the strides of its two axes.
struct Left {
  const float* data;
  long row, depth;

  Left From(long i) const { return {data + i * row, row, depth}; }
};

// A matrix in panels of columns: [columns / kPanel, rows, kPanel].
struct Panels {
  float* data;
  long rows;

  float* From(long row, long column) const {
    return data + column * rows + row * kPanel;
  }
};

// c [kRows, kPanel] = or += left @ right, `right` a part of a panel.
template <bool kAdd>
inline void Tile(Left left, const float* right, long depth, float* c,
                 long c_row) {
  for (long r = 0; r < kRows; ++r) {
    __builtin_prefetch(c + r * c_row, 1);
    __builtin_prefetch(c + r * c_row + kLanes, 1);
  }
  Lanes sum[kRows][2] = {};
  // Two pointers: strides of more rows would not stay in registers.
  const float* halves[] = {left.data, left.data + kRows / 2 * left.row};
#pragma GCC unroll 2
  for (long d = 0; d < depth; ++d) {
    const Lanes first = At(right), second = At(right + kLanes);
#pragma GCC unroll 8
    for (long r = 0; r < kRows; ++r) {
      const Lanes x = Fill(halves[r * 2 / kRows][r % (kRows / 2) * left.row]);
      sum[r][0] += x * first;
      sum[r][1] += x * second;
    }
    halves[0] += left.depth;
    halves[1] += left.depth;
    right += kPanel;
  }
#pragma GCC unroll 8
  for (long r = 0; r < kRows; ++r) {
    Lanes &first = At(c + r * c_row), &second = At(c + r * c_row + kLanes);
    first = kAdd ? first + sum[r][0] : sum[r][0];
    second = kAdd ? second + sum[r][1] : sum[r][1];
  }
}

// c [rows, columns] = left @ right[:, first : first + columns].
inline void Multiply(Left left, Panels right, long first, float* c, long c_row,
                     long rows, long columns) {
  for (long j = 0; j < columns; j += kPanel) {
    for (long i = 0; i < rows; i += kRows) {
      Tile<false>(left.From(i), right.From(0, first + j), right.rows,
                  c + i * c_row + j, c_row);
    }
  }
}

// sum[to : to + rows] += left @ right[from : from + depth].
inline void AddProduct(Left left, Panels right, long from, long depth,
                       Panels sum, long to, long rows, long width) {
  for (long j = 0; j < width; j += kPanel) {
    for (long i = 0; i < rows; i += kRows) {
      Tile<true>(left.From(i), right.From(from, j), depth, sum.From(to + i, j),
                 kPanel);
    }
  }
}

// x[i] *= scales[i], row by row.
inline void Scale(Panels x, long rows, long width, const float* scales) {
  for (long j = 0; j < width; j += kPanel) {
    for (long i = 0; i < rows; ++i) {
      At(x.From(i, j)) *= scales[i];
      At(x.From(i, j) + kLanes) *= scales[i];
    }
  }
}

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

// Memory of this thread, kept from call to call; one user at a time.
class Scratch {
 public:
  // `size` floats, to be taken in at most 15 parts.
  static Scratch& Of(long size) {
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
    return start;
  }

 private:
  static constexpr long kLine = 16;
  std::vector<float> memory_;
  float* next_;
};

#endif
