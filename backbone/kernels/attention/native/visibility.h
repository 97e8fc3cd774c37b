// Which keys of a row its queries may see: those of their segment and window.

#ifndef BACKBONE_KERNELS_ATTENTION_NATIVE_VISIBILITY_H_
#define BACKBONE_KERNELS_ATTENTION_NATIVE_VISIBILITY_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <unordered_map>
#include <utility>
#include <vector>

#include "products.h"

// Far below any real score: what was summed before the first real one is
// multiplied by 0. Finite, so that it gives no NaN.
constexpr float kUnseen = -1e30f;

class Visibility {
 public:
  Visibility(const int32_t* segments, long length, long window)
      : segments_(segments),
        length_(length),
        window_(std::min(window, length)),
        run_end_(length) {
    for (long begin = 0, end; begin < length; begin = end) {
      end = begin;
      while (end < length && segments[end] == segments[begin]) ++end;
      std::fill(run_end_.begin() + begin, run_end_.begin() + end, end);
      extents_.try_emplace(segments[begin], begin, end).first->second.second =
          end;
    }
  }

  // Keys [begin, end), whole panels, that hold all that any query sees.
  std::pair<long, long> Keys(long query, long count) const {
    const long query_end = query + count;
    long begin = length_, end = 0;
    for (long i = query; i < query_end; i = run_end_[i]) {
      const auto& [first, last] = extents_.at(segments_[i]);
      begin = std::min(begin, first);
      end = std::max(end, last);
    }
    begin = std::max(begin, query - window_);
    end = std::min(end, query_end + window_);
    return {begin / kPanel * kPanel, RoundUp(end, kPanel)};
  }

  // Marks what may not be seen among scores [count, keys], `row` apart.
  void Mask(float* scores, long row, long query, long count, long key,
            long keys) const {
    if (SeesAll(query, count, key, keys)) return;
    const int32_t window = window_, real = std::min(keys, length_ - key);
    const int32_t* others = segments_ + key;
    for (long i = 0; i < count; ++i) {
      const int32_t segment = segments_[query + i], position = query + i - key;
      float* score = scores + i * row;
      for (int32_t j = 0; j < real; ++j) {
        const bool is_seen =
            (others[j] == segment) & (std::abs(position - j) <= window);
        score[j] = is_seen ? score[j] : kUnseen;
      }
      std::fill(score + real, score + keys, kUnseen);
    }
  }

 private:
  bool SeesAll(long query, long count, long key, long keys) const {
    const long query_end = query + count, key_end = key + keys;
    return key_end <= length_ && segments_[query] == segments_[key] &&
           run_end_[query] >= query_end && run_end_[key] >= key_end &&
           query_end - key <= window_ + 1 && key_end - query <= window_ + 1;
  }

  const int32_t* segments_;
  long length_, window_;
  // Of each token, the end of its run of equal segments.
  std::vector<long> run_end_;
  // Of each segment, its first token and the end of its last run.
  std::unordered_map<int32_t, std::pair<long, long>> extents_;
};

#endif
