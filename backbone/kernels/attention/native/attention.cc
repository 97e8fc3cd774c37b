// Softmax attention on a CPU, forward and backward, for XLA to call.
//
// A head of a row is a task; a block of queries meets a span of keys at a time,
// so scores stay in the cache (Dao, arXiv:2307.08691). reference.py is the
// specification, native_cpu.py compiles and registers this.

#include <atomic>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "packing.h"
#include "visibility.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;

constexpr long kQueries = 96;  // A block, a multiple of kLanes.
constexpr long kKeys = 192;    // A span, a multiple of kPanel.
// From a row of scores to the next: no power of two, whose rows would share
// few lines of the cache.
constexpr long kStride = kKeys + 16;

using In = Head<const float>;
using Out = Head<float>;
using Array = ffi::BufferR4<ffi::F32>;
using PerQuery = ffi::BufferR3<ffi::F32>;
using Segments = ffi::BufferR2<ffi::S32>;
using Result = ffi::Result<Array>;

// Of a task, one head of one row.
struct Problem {
  long length;
  float scale;
  const Visibility& visibility;
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

void ForwardHead(const Problem& p, In query, In key, In value, Out output,
                 float* log_total) {
  const long keys = RoundUp(p.length, kPanel);
  const long width = RoundUp(value.width, kPanel);
  Scratch& scratch = Scratch::Sized(
      keys * (key.width + width) + kQueries * (query.width + width + kStride));
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
    const auto [first, last] = p.visibility.Keys(begin, count);
    for (long start = first; start < last; start += kKeys) {
      const long span = std::min(kKeys, last - start);
      Multiply({queries, query.width, 1}, transposed, start, scores, kStride,
               rows, span);
      p.visibility.Mask(scores, kStride, begin, count, start, span);
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

// Scores as weights P, and their gradients dP as those of the scores before:
// P * (dP - o·do), of which `dots` are o·do.
void WeighBackward(float* scores, float* d_scores, long rows, long keys,
                   const float* log_total, const float* dots) {
  for (long i = 0; i < rows; ++i) {
    for (long j = i * kStride; j < i * kStride + keys; j += kLanes) {
      At(scores + j) = Exp(At(scores + j) - log_total[i]);
      At(d_scores + j) = At(scores + j) * (At(d_scores + j) - dots[i]);
    }
  }
}

// With weights P and gradients of scores D: dV = P' dO, dK = D' Q, dQ = D K.
void BackwardHead(const Problem& p, In query, In key, In value, In output,
                  In d_output, const float* log_total, Out dq, Out dk,
                  Out dv) {
  const long keys = RoundUp(p.length, kPanel);
  const long key_width = RoundUp(key.width, kPanel);
  const long width = RoundUp(value.width, kPanel);
  Scratch& scratch = Scratch::Sized(
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
    float dots[kQueries];
    for (long i = 0; i < count; ++i) dots[i] = Dot(output, d_output, begin + i);
    const auto [first, last] = p.visibility.Keys(begin, count);
    for (long start = first; start < last; start += kKeys) {
      const long span = std::min(kKeys, last - start);
      Multiply({query_rows, query.width, 1}, transposed_keys, start, weights,
               kStride, rows, span);
      p.visibility.Mask(weights, kStride, begin, count, start, span);
      Multiply({d_output_rows, value.width, 1}, transposed_values, start,
               d_scores, kStride, rows, span);
      WeighBackward(weights, d_scores, count, span, log_total + begin, dots);
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
// caller waits only for what others have begun, so no number of calls at once
// blocks the pool; who comes after its return finds no index left, and never
// touches `task`.
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

// Calls run(problem, task) for every head of every row.
template <typename Run>
void ForEachHead(ffi::ThreadPool& pool, const Array& query,
                 const Segments& segments, long window, const Run& run) {
  const auto shape = query.dimensions();
  const long batch = shape[0], length = shape[1], heads = shape[2];
  const float scale = 1 / std::sqrt(static_cast<float>(shape[3]));
  std::vector<Visibility> rows;
  for (long row = 0; row < batch; ++row) {
    rows.emplace_back(segments.typed_data() + row * length, length, window);
  }
  InParallel(pool, batch * heads, [&](long task) {
    run({length, scale, rows[task / heads]}, task);
  });
}

// Row task / H, head task % H.
Out HeadOf(const Array& x, long task) {
  const auto shape = x.dimensions();
  const long heads = shape[2], width = shape[3];
  const long start = (task / heads * shape[1] * heads + task % heads) * width;
  return {x.typed_data() + start, heads * width, width};
}

ffi::Error Forward(ffi::ThreadPool pool, Array query, Array key, Array value,
                   Segments segments, int64_t window, Result output,
                   ffi::Result<PerQuery> log_total) {
  ForEachHead(pool, query, segments, window, [&](const Problem& p, long task) {
    ForwardHead(p, HeadOf(query, task), HeadOf(key, task), HeadOf(value, task),
                HeadOf(*output, task),
                log_total->typed_data() + task * p.length);
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, Array query, Array key, Array value,
                    Segments segments, Array output, PerQuery log_total,
                    Array d_output, int64_t window, Result dq, Result dk,
                    Result dv) {
  ForEachHead(pool, query, segments, window, [&](const Problem& p, long task) {
    BackwardHead(p, HeadOf(query, task), HeadOf(key, task),
                 HeadOf(value, task), HeadOf(output, task),
                 HeadOf(d_output, task),
                 log_total.typed_data() + task * p.length, HeadOf(*dq, task),
                 HeadOf(*dk, task), HeadOf(*dv, task));
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
