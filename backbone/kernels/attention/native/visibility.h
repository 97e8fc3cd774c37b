// Which keys of a row its queries may see: those of their segment and window.

#ifndef BACKBONE_KERNELS_ATTENTION_NATIVE_VISIBILITY_H_
#define BACKBONE_KERNELS_ATTENTION_NATIVE_VISIBILITY_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "products.h"

// Far below any real score: what was summed before the first real one shrinks
// to nothing. Finite, so that it gives no NaN.
constexpr float kUnseen = -1e30f;

class Visibility {
 public:
  // A window of -1 is none.
  Visibility(const int32_t* segments, long length, long window)
      : segments_(RoundUp(length, kPanel), std::numeric_limits<int32_t>::min()),
        window_(window < 0 ? length : std::min(window, length)) {
    std::copy_n(segments, length, segments_.begin());
    for (long i = 0; i < static_cast<long>(segments_.size()); i += kPanel) {
      panels_.push_back(RangeOf(i, kPanel));
    }
  }

  // Keys [begin, end), whole panels, that hold all that any query sees.
  std::pair<long, long> Keys(long query, long count) const {
    const Range own = RangeOf(query, count);
    long begin = std::max(0L, query - window_) / kPanel;
    long end = std::min(RoundUp(query + count + window_, kPanel) / kPanel,
                        static_cast<long>(panels_.size()));
    const auto is_unseen = [&](const Range& panel) {
      return panel.high < own.low || own.high < panel.low;
    };
    while (begin < end && is_unseen(panels_[begin])) ++begin;
    while (begin < end && is_unseen(panels_[end - 1])) --end;
    return {begin * kPanel, end * kPanel};
  }

  // Marks what may not be seen among scores [count, keys], `row` apart.
  void Mask(float* scores, long row, long query, long count, long key,
            long keys) const {
    if (SeesAll(query, count, key, keys)) return;
    const int32_t window = window_, num_keys = keys;
    const int32_t* others = segments_.data() + key;
    for (long i = 0; i < count; ++i) {
      const int32_t segment = segments_[query + i], position = query + i - key;
      float* score = scores + i * row;
      for (int32_t j = 0; j < num_keys; ++j) {
        const bool is_seen =
            (others[j] == segment) & (std::abs(position - j) <= window);
        score[j] = is_seen ? score[j] : kUnseen;
      }
    }
  }

 private:
  struct Range {
    int32_t low, high;
  };

  Range RangeOf(long begin, long count) const {
    const auto start = segments_.begin() + begin;
    const auto [low, high] = std::minmax_element(start, start + count);
    return {*low, *high};
  }

  bool SeesAll(long query, long count, long key, long keys) const {
    const Range own = RangeOf(query, count);
    bool all = own.low == own.high && query + count - key <= window_ + 1 &&
               key + keys - query <= window_ + 1;
    for (long panel = key / kPanel; all && panel < (key + keys) / kPanel;
         ++panel) {
      all = panels_[panel].low == own.low && panels_[panel].high == own.low;
    }
    return all;
  }

  std::vector<int32_t> segments_;
  std::vector<Range> panels_;
  long window_;
};

#endif
