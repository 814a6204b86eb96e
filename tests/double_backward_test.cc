// instance_norm_double_backward against differences of the reference's backward: in g and the
// weight that is linear, so a difference is exact; in x the five-point formula is taken in a
// precision above.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "calls.h"
#include "error_of.h"

namespace instnorm::test {
namespace {

INSTANTIATE_TEST_SUITE_P(DoubleBackward, EveryDType, kEveryDType, kDTypeName);

std::vector<double> normal(const Dims& shape, std::uint64_t seed, double mean, double std) {
  Random random(seed);
  return normal_values(random, shape.product(), mean, std);
}

// u * grad_input + a * grad_weight + b * grad_bias of one row.
template <class Real>
struct RowFunction {
  Setting setting;  // of one row
  std::vector<double> u;
  double a = 0.0, b = 0.0;
  bool constant = false;
  std::vector<Stats<Real>> rows;

  Real operator()(const std::vector<double>& x, const std::vector<double>& g) const {
    const auto of = constant ? rows : statistics<Real>(setting, x);
    const BackwardResult<Real> r = backward(setting, x, g, of, constant);
    Real sum = Real(a) * r.weight[0] + Real(b) * r.bias[0];
    for (std::size_t i = 0; i < u.size(); ++i) sum += Real(u[i]) * r.input[i];
    return sum;
  }

  Real by_g(const std::vector<double>& x, std::size_t i) const {
    std::vector<double> unit(x.size());
    unit[i] = 1.0;
    return (*this)(x, unit);
  }

  Real by_weight(const std::vector<double>& x, const std::vector<double>& g) const {
    RowFunction more = *this;
    more.setting.weight[0] += 1.0;
    return more(x, g) - (*this)(x, g);
  }

  // Off by the fourth power of the step, 2^-68, times the fifth derivative.
  Real by_x(std::vector<double> x, const std::vector<double>& g, std::size_t i) const {
    const double at = x[i];
    const auto difference = [&](double step) {
      x[i] = at + step;
      const double high = x[i];
      const Real f = (*this)(x, g);
      x[i] = at - step;
      return (f - (*this)(x, g)) / (Real(high) - Real(x[i]));
    };
    return (4 * difference(0x1p-17) - difference(0x1p-16)) / 3;
  }
};

struct DoubleCall : Call {
  DoubleCall(DType of, const Dims& shape, std::uint64_t seed = 1, Pattern in = Pattern::dense,
             Pattern out = Pattern::dense, double mean = 3.0)
      : Call(of, shape, normal(shape, seed, mean, 2.0), in),
        g(of, shape, normal(shape, seed + 1, 0.5, 1.0), in),
        u(of, shape, normal(shape, seed + 2, -0.3, 1.0)),
        grad_x(of, shape, out),
        grad_g(of, shape, out) {}

  // After the parameters are given.
  void give_cotangents(DType parameters) {
    const Dims of_weight = weight.defined() ? weight.shape() : Dims{setting.C};
    const Dims of_bias = bias.defined() ? bias.shape() : Dims{setting.C};
    a = Array(parameters, of_weight, normal(of_weight, 11, 0.0, 1.0), Pattern::stepped);
    b = Array(parameters, of_bias, normal(of_bias, 12, 0.0, 1.0), Pattern::stepped);
    grad_weight = Array(parameters, of_weight, Pattern::stepped);
  }

  void run(const Moments& m) {
    DoubleBackwardOptions o;
    o.weight = weight.view();
    o.eps = setting.eps;
    o.weight_offset = setting.weight_offset;
    o.use_input_stats = !constant;
    instance_norm_double_backward(
        x.view(), g.view(), m,
        {.grad_input = u.view(), .grad_weight = a.view(), .grad_bias = b.view()},
        {.x = grad_x.view(), .weight = grad_weight.view(), .grad_output = grad_g.view()}, o);
  }

  // At `places` of each row, or all of them.
  ::testing::AssertionResult is_right(const Moments& m, std::int64_t places) {
    return with_real(dtype, [&](auto zero) { return is_right<decltype(zero)>(m, places); });
  }

  template <class Real>
  ::testing::AssertionResult is_right(const Moments& m, std::int64_t places) {
    const std::vector<double> xs = x.values(), gs = g.values();
    const std::vector<double> us = u.defined() ? u.values() : std::vector<double>(xs.size());
    const std::vector<double> as = a.defined() ? a.values() : std::vector<double>();
    const std::vector<double> bs = b.defined() ? b.values() : std::vector<double>();
    const std::vector<double> got_x = grad_x.values(), got_g = grad_g.values();
    const auto all_rows = statistics<Real>(m);
    const auto length = static_cast<std::size_t>(setting.L);
    std::vector<Real> by_weight;
    ::testing::AssertionResult right = ::testing::AssertionSuccess();
    each_row(setting, [&](std::int64_t n, std::int64_t c, std::size_t at) {
      const auto part = [&](const std::vector<double>& v) {
        const auto first = v.begin() + static_cast<std::ptrdiff_t>(at);
        return std::vector<double>(first, first + static_cast<std::ptrdiff_t>(length));
      };
      RowFunction<Real> f;
      f.setting = setting;
      f.setting.N = f.setting.C = 1;
      f.setting.weight = {setting.weight.empty() ? 1.0 - setting.weight_offset
                                                 : setting.of(setting.weight, n, c)};
      f.u = part(us);
      f.a = as.empty() ? 0.0 : setting.of(as, n, c);
      f.b = bs.empty() ? 0.0 : setting.of(bs, n, c);
      f.constant = constant;
      f.rows = {all_rows[setting.row(n, c)]};
      const std::vector<double> row_x = part(xs), row_g = part(gs);
      std::vector<double> found_x, found_g;
      std::vector<Real> want_x, want_g;
      const std::size_t step =
          places == 0 ? 1 : std::max<std::size_t>(1, length / static_cast<std::size_t>(places));
      for (std::size_t i = 0; i < length; i += step) {
        found_x.push_back(got_x[at + i]);
        found_g.push_back(got_g[at + i]);
        want_x.push_back(constant && !a.defined() ? Real(0) : f.by_x(row_x, row_g, i));
        want_g.push_back(f.by_g(row_x, i));
      }
      by_weight.push_back(f.by_weight(row_x, row_g));
      // Products of two sums, each as good as those of a backward.
      const auto near = [&](const std::vector<double>& found, const std::vector<Real>& want) {
        return all_within(dtype, found, want, gradient_bound(dtype, 2 * largest_of(want)));
      };
      if (right) right = near(found_x, want_x) << " (x of row " << n << ", " << c << ")";
      if (right) right = near(found_g, want_g) << " (grad_output of row " << n << ", " << c << ")";
    });
    if (!right) return right;
    if (!grad_x.surroundings_untouched() || !grad_g.surroundings_untouched()) {
      return ::testing::AssertionFailure() << "bytes around a gradient were written";
    }
    if (!grad_weight.defined()) return right;
    const auto want =
        grad_weight.shape().rank() == 2 ? by_weight : over_instances(setting, by_weight);
    return all_within(grad_weight.dtype(), grad_weight.values(), want,
                      gradient_bound(dtype, 2 * largest_of(by_weight)))
           << " (weight)";
  }

  ::testing::AssertionResult run_is_right(std::int64_t places = 0) {
    const Moments m = moments(x.view());
    run(m);
    return is_right(m, places);
  }

  Array g, u, a, b, grad_x, grad_g, grad_weight;
  bool constant = false;
};

TEST_P(EveryDType, SecondGradientsAtEveryLength) {
  for (const std::int64_t L : {3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100}) {
    DoubleCall call(GetParam(), {2, 3, L}, static_cast<std::uint64_t>(L));
    const auto i = static_cast<std::size_t>(L);
    call.give(kGiven[i % 3], kGiven[i / 3 % 3], GetParam());
    call.give_cotangents(i % 2 ? GetParam() : wide_parameters(GetParam()));
    EXPECT_TRUE(call.run_is_right()) << call.description();
  }
}

TEST_P(EveryDType, SecondGradientsOfLongRows) {
  for (const std::int64_t L : {2048, 4097, 8193, 30011}) {
    DoubleCall call(GetParam(), {1, 2, L});
    call.give(Given::shared, Given::shared, GetParam());
    call.give_cotangents(GetParam());
    EXPECT_TRUE(call.run_is_right(3)) << call.description();
  }
}

TEST_P(EveryDType, SecondGradientsInEveryStridePattern) {
  for (const Pattern in : kInputPatterns) {
    if (in == Pattern::repeat_last || in == Pattern::repeat_all) continue;  // no variance
    for (const Pattern out : kOutputPatterns) {
      DoubleCall call(GetParam(), {2, 3, 4, 5}, 1, in, out);
      call.give_cotangents(GetParam());
      EXPECT_TRUE(call.run_is_right()) << name_of(in) << " -> " << name_of(out);
    }
  }
}

TEST_P(EveryDType, SecondGradientsWithAnythingMissing) {
  for (int given = 1; given < 8; ++given) {
    for (int wanted = 1; wanted < 8; ++wanted) {
      DoubleCall call(GetParam(), {2, 3, 20}), all(GetParam(), {2, 3, 20});
      for (DoubleCall* one : {&call, &all}) {
        one->give(Given::shared, Given::absent, GetParam());
        one->give_cotangents(GetParam());
        if (!(given & 1)) one->u = Array();
        if (!(given & 2)) one->a = Array();
        if (!(given & 4)) one->b = Array();
      }
      EXPECT_TRUE(all.run_is_right()) << given;
      if (!(wanted & 1)) call.grad_x = Array();
      if (!(wanted & 2)) call.grad_g = Array();
      if (!(wanted & 4)) call.grad_weight = Array();
      call.run(moments(call.x.view()));
      if (wanted & 1) {
        EXPECT_EQ(call.grad_x.bits(), all.grad_x.bits()) << given << wanted;
      }
      if (wanted & 2) {
        EXPECT_EQ(call.grad_g.bits(), all.grad_g.bits()) << given << wanted;
      }
      if (wanted & 4) {
        EXPECT_EQ(call.grad_weight.bits(), all.grad_weight.bits()) << given << wanted;
      }
    }
  }
}

TEST_P(EveryDType, SecondGradientsByConstantMoments) {
  for (const bool with_a : {false, true}) {
    DoubleCall call(GetParam(), {2, 3, 50});
    call.give(Given::per_instance, Given::shared, GetParam());
    call.give_cotangents(GetParam());
    call.setting.weight_offset = 1.0;
    if (!with_a) call.a = Array();
    call.constant = true;
    EXPECT_TRUE(call.run_is_right());
  }
}

// The last digits of x are there at a mean of a million standard deviations.
TEST(DoubleBackward, AtALargeMean) {
  DoubleCall call(DType::float32, {2, 2, 200}, 1, Pattern::dense, Pattern::dense, 1e6);
  call.give(Given::shared, Given::shared, DType::float32);
  call.give_cotangents(DType::float32);
  EXPECT_TRUE(call.run_is_right(10));
}

TEST(DoubleBackward, NothingGivenAndNothingAskedForAreErrors) {
  DoubleCall call(DType::float32, {2, 2, 20});
  const Moments m = moments(call.x.view());
  const auto error = [&](const GradientsOfGradients& given, const SecondGradients& wanted) {
    return error_of<std::invalid_argument>(
        [&] { instance_norm_double_backward(call.x.view(), call.g.view(), m, given, wanted, {}); });
  };
  GradientsOfGradients given;
  given.grad_input = call.u.view();
  SecondGradients wanted;
  wanted.grad_output = call.grad_g.view();
  EXPECT_EQ(error(given, wanted), "nothing was thrown");
  EXPECT_THAT(error({}, wanted), testing::HasSubstr("nothing flows back"));
  EXPECT_THAT(error(given, {}), testing::HasSubstr("no gradient is asked for"));
}

// float cannot hold the sums of these, nor the squares.
TEST(DoubleBackward, RowsBeyondFloatAreWide) {
  for (const double size : {1e-30, 1e25}) {
    DoubleCall call(DType::float32, {1, 2, 30});
    std::vector<double> values = call.x.values();
    for (double& v : values) v *= size;
    call.x = Array(DType::float32, {1, 2, 30}, values, Pattern::dense);
    call.setting.eps = 0.0;
    call.give_cotangents(DType::float32);
    const Moments m = moments(call.x.view());
    call.run(m);
    // Of size^-1 and size^-2: those of rows of size 1, scaled.
    DoubleCall one(DType::float64, {1, 2, 30});
    one.x = Array(DType::float64, {1, 2, 30}, values, Pattern::dense);
    one.g = Array(DType::float64, {1, 2, 30}, call.g.values(), Pattern::dense);
    one.u = Array(DType::float64, {1, 2, 30}, call.u.values(), Pattern::dense);
    one.give_cotangents(DType::float64);
    one.a = Array(DType::float64, {2}, call.a.values(), Pattern::dense);
    one.b = Array(DType::float64, {2}, call.b.values(), Pattern::dense);
    one.setting.eps = 0.0;
    one.run(moments(one.x.view()));
    const std::vector<double> wanted = one.grad_g.values();
    EXPECT_TRUE(all_within(DType::float32, call.grad_g.values(), wanted,
                           gradient_bound(DType::float32, 2 * largest_of(wanted))))
        << size;
  }
}

TEST(DoubleBackward, RowsThatAreTheirBiasGiveToGradOutputAlone) {
  DoubleCall call(DType::float32, {1, 1, 40});
  call.x = Array(DType::float32, {1, 1, 40},
                 std::vector<double>(40, std::numeric_limits<double>::quiet_NaN()), Pattern::dense);
  call.give_cotangents(DType::float32);
  Moments m = Moments::empty(1, 1);
  m.count[0] = 1.0;
  call.run(m);
  for (const double v : call.grad_x.values()) EXPECT_EQ(v, 0.0);
  for (const double v : call.grad_g.values()) EXPECT_EQ(v, call.b.values()[0]);
  EXPECT_EQ(call.grad_weight.values()[0], 0.0);
}

TEST(DoubleBackward, ChannelsLastHasTheSameBits) {
  for (const std::int64_t L : {7, 9000}) {
    const Dims shape = {2, 5, L}, last = {2, L, 5};
    DoubleCall call(DType::float32, shape);
    call.run(moments(call.x.view()));
    const auto turned = [&](Array& array) {
      const std::vector<double> from = array.values();
      std::vector<double> to;
      for (std::int64_t n = 0; n < 2; ++n) {
        for (std::int64_t l = 0; l < L; ++l) {
          for (std::int64_t c = 0; c < 5; ++c) {
            to.push_back(from[static_cast<std::size_t>((n * 5 + c) * L + l)]);
          }
        }
      }
      return Array(DType::float32, last, to, Pattern::dense);
    };
    Array x = turned(call.x), g = turned(call.g), u = turned(call.u);
    Array grad_x(DType::float32, last), grad_g(DType::float32, last);
    instance_norm_double_backward(
        x.view(), g.view(), moments(x.view(), {.data_format = DataFormat::NLC}),
        {.grad_input = u.view()}, {.x = grad_x.view(), .grad_output = grad_g.view()},
        {.data_format = DataFormat::NLC});
    EXPECT_EQ(grad_x.bits(), turned(call.grad_x).bits()) << L;
    EXPECT_EQ(grad_g.bits(), turned(call.grad_g).bits()) << L;
  }
}

// (N, C, L) of (N, C, L) or, channels last, (N, L, C).
std::vector<double> in_layout(const std::vector<double>& v, const Dims& shape, DataFormat format) {
  if (format == DataFormat::NCL) return v;
  std::vector<double> to;
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    for (std::int64_t l = 0; l < shape[2]; ++l) {
      for (std::int64_t c = 0; c < shape[1]; ++c) {
        to.push_back(v[static_cast<std::size_t>((n * shape[1] + c) * shape[2] + l)]);
      }
    }
  }
  return to;
}

// A padded batch has the bits of each sequence alone, whatever lies behind it, and zeros there.
TEST_P(EveryDType, SecondGradientsOfAPaddedBatch) {
  const std::int64_t C = 3;
  for (const std::int64_t L : {21, 9000}) {
    for (const DataFormat format : {DataFormat::NCL, DataFormat::NLC}) {
      for (const bool constant : {false, true}) {
        const std::vector<std::int64_t> lengths = {L - 3, 0, L, 1, 2};
        const auto N = static_cast<std::int64_t>(lengths.size());
        const Dims shape = {N, C, L};
        const Dims of_views = format == DataFormat::NCL ? shape : Dims{N, L, C};
        const auto signal = [&](std::uint64_t seed) {
          std::vector<double> v = normal(shape, seed, 1.0, 2.0);
          quantize(GetParam(), v);
          return v;
        };
        const std::vector<double> x = signal(1), g = signal(2), u = signal(3);
        const auto batch = [&](std::vector<double> v) {
          for (std::size_t i = 0; i < v.size(); ++i) {
            const auto at = static_cast<std::int64_t>(i);
            const bool there = at % L < lengths[i / static_cast<std::size_t>(C * L)];
            if (!there) v[i] = std::numeric_limits<double>::quiet_NaN();
          }
          return Array(GetParam(), of_views, in_layout(v, shape, format), Pattern::dense);
        };
        const DType parameters = wide_parameters(GetParam());
        const Dims of_weight = {N, C};
        const std::vector<double> w = normal(of_weight, 4, 1.0, 0.3),
                                  a = normal(of_weight, 5, 0.0, 1.0);
        const auto parameter = [&](const std::vector<double>& v, std::int64_t n) {
          const auto first = v.begin() + static_cast<std::ptrdiff_t>(n * C);
          return n < 0 ? Array(parameters, of_weight, v, Pattern::dense)
                       : Array(parameters, {C}, std::vector<double>(first, first + C),
                               Pattern::dense);
        };
        Array xs = batch(x), gs = batch(g), us = batch(u), ws = parameter(w, -1),
              as = parameter(a, -1);
        Array dx(GetParam(), of_views), dg(GetParam(), of_views), dw(parameters, of_weight);
        const ConstView of_batch = view(lengths, {N});
        const Moments m = moments(xs.view(), {.lengths = of_batch, .data_format = format});
        instance_norm_double_backward(xs.view(), gs.view(), m, {us.view(), as.view(), as.view()},
                                      {dx.view(), dw.view(), dg.view()},
                                      {.weight = ws.view(),
                                       .use_input_stats = !constant,
                                       .lengths = of_batch,
                                       .data_format = format});

        std::vector<double> want_x, want_g, want_w;
        for (std::int64_t n = 0; n < N; ++n) {
          const std::int64_t length = lengths[static_cast<std::size_t>(n)];
          const auto part = [&](const std::vector<double>& v) {
            std::vector<double> rows;
            for (std::int64_t c = 0; c < C; ++c) {
              const auto first = v.begin() + static_cast<std::ptrdiff_t>((n * C + c) * L);
              rows.insert(rows.end(), first, first + static_cast<std::ptrdiff_t>(length));
            }
            return Array(GetParam(), {1, C, length}, rows, Pattern::dense);
          };
          Array px = part(x), pg = part(g), pu = part(u), pw = parameter(w, n),
                pa = parameter(a, n);
          Array ox(GetParam(), {1, C, length}), og(GetParam(), {1, C, length}), ow(parameters, {C});
          instance_norm_double_backward(px.view(), pg.view(), moments(px.view()),
                                        {pu.view(), pa.view(), pa.view()},
                                        {ox.view(), ow.view(), og.view()},
                                        {.weight = pw.view(), .use_input_stats = !constant});
          const auto padded = [&](Array& from, std::vector<double>& to) {
            const std::vector<double> values = from.values();
            for (std::int64_t c = 0; c < C; ++c) {
              for (std::int64_t l = 0; l < L; ++l) {
                to.push_back(l < length ? values[static_cast<std::size_t>(c * length + l)] : 0.0);
              }
            }
          };
          padded(ox, want_x);
          padded(og, want_g);
          for (const double v : ow.values()) want_w.push_back(v);
        }
        EXPECT_EQ(dx.values(), in_layout(want_x, shape, format)) << L << constant;
        EXPECT_EQ(dg.values(), in_layout(want_g, shape, format)) << L << constant;
        EXPECT_EQ(dw.values(), want_w) << L << constant;
      }
    }
  }
}

TEST(DoubleBackward, SameBitsForAnyNumberOfThreads) {
  const int before = get_num_threads();
  std::vector<std::vector<std::byte>> found;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    for (const Dims& shape : {Dims{3, 5, 3000}, Dims{1, 1, 100000}}) {
      DoubleCall call(DType::float32, shape);
      call.give_cotangents(DType::float32);
      call.run(moments(call.x.view()));
      std::vector<std::byte> bits;
      for (const Array* array : {&call.grad_x, &call.grad_g, &call.grad_weight}) {
        const std::vector<std::byte> more = array->bits();
        bits.insert(bits.end(), more.begin(), more.end());
      }
      found.push_back(bits);
    }
  }
  set_num_threads(before);
  for (std::size_t i = 2; i < found.size(); ++i) EXPECT_EQ(found[i], found[i % 2]);
}

}  // namespace
}  // namespace instnorm::test
