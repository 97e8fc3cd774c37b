// Products of matrices that lie in panels.

#ifndef BACKBONE_KERNELS_ATTENTION_NATIVE_PRODUCTS_H_
#define BACKBONE_KERNELS_ATTENTION_NATIVE_PRODUCTS_H_

#include "lanes.h"

// As many rows to a tile as the registers hold beside the right operand.
#ifdef __AVX512F__
constexpr long kRows = 8;
#else
constexpr long kRows = 4;
#endif
constexpr long kPanel = 2 * kLanes;

inline long RoundUp(long n, long unit) { return (n + unit - 1) / unit * unit; }

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

  // The part of a panel from a row on; `column` is the first of the panel.
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

#endif
