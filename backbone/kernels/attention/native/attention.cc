// Softmax attention on a CPU, forward and backward, for XLA to call.
//
// A head of a row is a task; a block of queries meets a span of keys at a time,
// so scores stay in the cache (Dao, arXiv:2307.08691). reference.py is the
// specification, native_cpu.py compiles and registers this.

#include <atomic>
#include <cmath>
#include <memory>
#include <thread>

#include "products.h"
#include "visibility.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;

constexpr long kQueries = 96;  // To a block, a multiple of kLanes.
constexpr long kKeys = 192;    // To a span, a multiple of kPanel.
// From a row of scores to the next: no power of two, whose rows would share
// few lines of the cache.
constexpr long kStride = kKeys + 16;

using In = Head<const float>;
using Out = Head<float>;
using Array = ffi::BufferR4<ffi::F32>;
using PerQuery = ffi::BufferR3<ffi::F32>;
using Segments = ffi::BufferR2<ffi::S32>;
using Result = ffi::Result<Array>;

// Row task / H, head task % H of [B, T, H, width].
Out Of(const Array& x, long task) {
  const auto shape = x.dimensions();
  const long heads = shape[2], width = shape[3];
  const long start = (task / heads * shape[1] * heads + task % heads) * width;
  return {x.typed_data() + start, heads * width, width};
}

struct Problem {
  long length, heads;
  const int32_t* segments;
  long window;
  float scale;

  Problem(const Array& query, const Segments& segment_ids, long window)
      : length(query.dimensions()[1]),
        heads(query.dimensions()[2]),
        segments(segment_ids.typed_data()),
        window(window),
        scale(1 / std::sqrt(static_cast<float>(query.dimensions()[3]))) {}

  Visibility Row(long task) const {
    return {segments + task / heads * length, length, window};
  }
};

// Scores [rows, keys] as weights relative to the highest so far of each row;
// `shrink` becomes what earlier sums, the totals among them, are multiplied by.
void Weigh(float* scores, long rows, long keys, float* highest, float* shrink,
           float* totals) {
  for (long i = 0; i < rows; ++i) {
    Lanes most = Fill(highest[i]);
    for (long j = i * kStride; j < i * kStride + keys; j += kLanes) {
      most = Larger(most, At(scores + j));
    }
    const float now = Highest(most);
    shrink[i] = highest[i] - now;
    highest[i] = now;
  }
  for (long i = 0; i < rows; i += kLanes) At(shrink + i) = Exp(At(shrink + i));
  for (long i = 0; i < rows; ++i) {
    Lanes total = At(totals + i * kLanes) * shrink[i];
    for (long j = i * kStride; j < i * kStride + keys; j += kLanes) {
      const Lanes weight = Exp(At(scores + j) - highest[i]);
      At(scores + j) = weight;
      total += weight;
    }
    At(totals + i * kLanes) = total;
  }
}

void ForwardHead(const Problem& p, In query, In key, In value,
                 const Visibility& visibility, Out output, float* log_total) {
  const long keys = RoundUp(p.length, kPanel);
  const long width = RoundUp(value.width, kPanel);
  Scratch& scratch = Scratch::Of(keys * (key.width + width) +
                                 kQueries * (query.width + width + kStride));
  const Panels transposed{scratch.Take(keys * key.width), key.width};
  const Panels values{scratch.Take(keys * width), keys};
  const Panels sums{scratch.Take(kQueries * width), kQueries};
  float* queries = scratch.Take(kQueries * query.width);
  float* scores = scratch.Take(kQueries * kStride);
  PackTransposed(key, p.length, keys, p.scale, transposed);
  Pack(value, 0, p.length, values);

  for (long begin = 0; begin < p.length; begin += kQueries) {
    const long count = std::min(kQueries, p.length - begin);
    const long rows = RoundUp(count, kRows);
    float highest[kQueries], shrink[kQueries], totals[kQueries * kLanes] = {};
    std::fill_n(highest, kQueries, kUnseen);
    std::fill_n(sums.data, kQueries * width, 0.0f);
    PackRows(query, begin, count, rows, queries);
    const auto [first, last] = visibility.Keys(begin, count);
    for (long start = first; start < last; start += kKeys) {
      const long span = std::min(kKeys, last - start);
      Multiply({queries, query.width, 1}, transposed, start, scores, kStride,
               rows, span);
      visibility.Mask(scores, kStride, begin, count, start, span);
      Weigh(scores, rows, span, highest, shrink, totals);
      Scale(sums, rows, width, shrink);
      AddProduct({scores, kStride, 1}, values, start, span, sums, 0, rows,
                 width);
    }
    for (long i = 0; i < count; ++i) {
      const float total = Sum(At(totals + i * kLanes));
      log_total[begin + i] = highest[i] + std::log(total);
      Unpack(sums, i, 1 / total, output, begin + i);
    }
  }
}

// With weights P of the scores and D = P * (dO V' - o·do):
// dV = P' dO, dK = D' Q, dQ = D K.
void BackwardHead(const Problem& p, In query, In key, In value,
                  const Visibility& visibility, In output, In d_output,
                  const float* log_total, Out dq, Out dk, Out dv) {
  const long keys = RoundUp(p.length, kPanel);
  const long key_width = RoundUp(key.width, kPanel);
  const long width = RoundUp(value.width, kPanel);
  Scratch& scratch = Scratch::Of(
      keys * (key.width + value.width + 2 * key_width + width) +
      kQueries * (key.width + value.width + 2 * key_width + width) +
      2 * kQueries * kStride);
  const Panels transposed_keys{scratch.Take(keys * key.width), key.width};
  const Panels transposed_values{scratch.Take(keys * value.width), value.width};
  const Panels whole_keys{scratch.Take(keys * key_width), keys};
  const Panels d_keys{scratch.Take(keys * key_width), keys};
  const Panels d_values{scratch.Take(keys * width), keys};
  const Panels queries{scratch.Take(kQueries * key_width), kQueries};
  const Panels d_queries{scratch.Take(kQueries * key_width), kQueries};
  const Panels d_outputs{scratch.Take(kQueries * width), kQueries};
  float* query_rows = scratch.Take(kQueries * key.width);
  float* d_output_rows = scratch.Take(kQueries * value.width);
  float* weights = scratch.Take(kQueries * kStride);
  float* d_scores = scratch.Take(kQueries * kStride);
  PackTransposed(key, p.length, keys, p.scale, transposed_keys);
  PackTransposed(value, p.length, keys, 1, transposed_values);
  Pack(key, 0, p.length, whole_keys);
  std::fill_n(d_keys.data, keys * key_width, 0.0f);
  std::fill_n(d_values.data, keys * width, 0.0f);

  for (long begin = 0; begin < p.length; begin += kQueries) {
    const long count = std::min(kQueries, p.length - begin);
    const long rows = RoundUp(count, kRows);
    PackRows(query, begin, count, rows, query_rows);
    PackRows(d_output, begin, count, rows, d_output_rows);
    Pack(query, begin, count, queries);
    Pack(d_output, begin, count, d_outputs);
    std::fill_n(d_queries.data, kQueries * key_width, 0.0f);
    float shared[kQueries] = {};
    for (long i = 0; i < count; ++i) {
      const float* o = output.data + (begin + i) * output.stride;
      const float* d = d_output.data + (begin + i) * d_output.stride;
      for (long j = 0; j < output.width; ++j) shared[i] += o[j] * d[j];
    }
    const auto [first, last] = visibility.Keys(begin, count);
    for (long start = first; start < last; start += kKeys) {
      const long span = std::min(kKeys, last - start);
      Multiply({query_rows, query.width, 1}, transposed_keys, start, weights,
               kStride, rows, span);
      visibility.Mask(weights, kStride, begin, count, start, span);
      Multiply({d_output_rows, value.width, 1}, transposed_values, start,
               d_scores, kStride, rows, span);
      for (long i = 0; i < count; ++i) {
        for (long j = i * kStride; j < i * kStride + span; j += kLanes) {
          const Lanes weight = Exp(At(weights + j) - log_total[begin + i]);
          At(weights + j) = weight;
          At(d_scores + j) = weight * (At(d_scores + j) - shared[i]);
        }
      }
      AddProduct({weights, 1, kStride}, d_outputs, 0, count, d_values, start,
                 span, width);
      AddProduct({d_scores, 1, kStride}, queries, 0, count, d_keys, start, span,
                 key_width);
      AddProduct({d_scores, kStride, 1}, whole_keys, start, span, d_queries, 0,
                 rows, key_width);
    }
    for (long i = 0; i < count; ++i) {
      Unpack(d_queries, i, p.scale, dq, begin + i);
    }
  }
  for (long i = 0; i < p.length; ++i) {
    Unpack(d_keys, i, p.scale, dk, i);
    Unpack(d_values, i, 1, dv, i);
  }
}

// Runs task(0) to task(count - 1) on the caller and the threads of `pool`. The
// caller waits only for what others have begun: any number of calls at once
// leaves the pool no deadlock.
template <typename Task>
void InParallel(ffi::ThreadPool& pool, long count, const Task& task) {
  struct Progress {
    std::atomic<long> next{0}, done{0};
  };
  const auto progress = std::make_shared<Progress>();
  const auto work = [progress, count, &task] {
    for (long i; (i = progress->next++) < count; ++progress->done) task(i);
  };
  const long others = std::min<long>(pool.num_threads(), count) - 1;
  for (long i = 0; i < others; ++i) pool.Schedule([work] { work(); });
  work();
  while (progress->done < count) std::this_thread::yield();
}

ffi::Error Forward(ffi::ThreadPool pool, Array query, Array key, Array value,
                   Segments segments, int64_t window, Result output,
                   ffi::Result<PerQuery> log_total) {
  const Problem p(query, segments, window);
  InParallel(pool, query.dimensions()[0] * p.heads, [&](long task) {
    ForwardHead(p, Of(query, task), Of(key, task), Of(value, task),
                p.Row(task), Of(*output, task),
                log_total->typed_data() + task * p.length);
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, Array query, Array key, Array value,
                    Segments segments, Array output, PerQuery log_total,
                    Array d_output, int64_t window, Result dq, Result dk,
                    Result dv) {
  const Problem p(query, segments, window);
  InParallel(pool, query.dimensions()[0] * p.heads, [&](long task) {
    BackwardHead(p, Of(query, task), Of(key, task), Of(value, task),
                 p.Row(task), Of(output, task), Of(d_output, task),
                 log_total.typed_data() + task * p.length, Of(*dq, task),
                 Of(*dk, task), Of(*dv, task));
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(AttentionForward, Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Segments>()
                                  .Attr<int64_t>("window")
                                  .Ret<Array>()
                                  .Ret<PerQuery>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(AttentionBackward, Backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Segments>()
                                  .Arg<Array>()
                                  .Arg<PerQuery>()
                                  .Arg<Array>()
                                  .Attr<int64_t>("window")
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>());
