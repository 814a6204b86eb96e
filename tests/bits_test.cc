// A row's result is a function of the row alone: the same bits for any number of threads, batch,
// place in the batch, alignment, stride pattern, in place or not, and from run to run.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "calls.h"
#include "dtype.h"
#include "inputs.h"

namespace instnorm::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Bits, EveryDType, kEveryDType, kDTypeName);

// As numbers are compared, NaN differs from itself.
bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

// Of a NaN, that it is one: which of two NaNs a sum is, IEEE 754 leaves open, and so do compilers,
// loop by loop.
bool same_but_for_nan(DType dtype, const std::byte* a, const std::vector<std::byte>& b) {
  return visit_float(dtype, [&](auto zero) {
    const auto at = [&](const std::byte* bytes, std::size_t i) {
      auto value = zero;
      std::memcpy(&value, bytes + i, sizeof value);
      return static_cast<float>(value);
    };
    for (std::size_t i = 0; i < b.size(); i += sizeof zero) {
      const bool same = std::memcmp(a + i, b.data() + i, sizeof zero) == 0;
      if (!same && !(std::isnan(at(a, i)) && std::isnan(at(b.data(), i)))) return false;
    }
    return true;
  });
}

// Everything that the functions compute from x and g, as bytes.
struct Outcome {
  std::vector<std::byte> y, back, dx, parameters;
  std::vector<double> mean, m2;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome_of(Inputs& in, bool in_place = false) {
  const DType dtype = in.x.dtype();
  const Dims shape = in.x.shape();
  const RowShape rows(shape);
  const std::vector<double> channel(static_cast<std::size_t>(rows.C), 0.7);
  Array weight(dtype, {rows.C}, channel), bias(dtype, {rows.C}, channel);
  Array running_mean(dtype, {rows.C}, channel), running_var(dtype, {rows.C}, channel);
  Array dw(dtype, {rows.C}), db(dtype, {rows.C});
  Array y(dtype, shape, in.out), back(dtype, shape, in.out), dx(dtype, shape, in.out);
  Moments m;
  Outcome r;
  const auto append = [](std::vector<std::byte>& to, const std::vector<std::byte>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  const auto forward_to = [&](const View& out) {
    instance_norm(in.x.view(), out,
                  {.weight = weight.view(),
                   .bias = bias.view(),
                   .running_mean = running_mean.view(),
                   .running_var = running_var.view(),
                   .save_moments = &m});
  };
  const auto backward_to = [&](const View& out) {
    instance_norm_backward(in.x.view(), in.g.view(), m,
                           {.grad_input = out, .grad_weight = dw.view(), .grad_bias = db.view()},
                           {.weight = weight.view(), .bias = bias.view()});
  };
  const DenormalizeOptions undo = {.weight = weight.view(), .bias = bias.view()};
  if (in_place) {
    m = moments(in.x.view());
    backward_to(in.g.view());
    r.dx = in.g.bits();
    forward_to(in.x.view());
    r.y = in.x.bits();
    denormalize(in.x.view(), m, in.x.view(), undo);
    r.back = in.x.bits();
  } else {
    forward_to(y.view());
    backward_to(dx.view());
    denormalize(y.view(), m, back.view(), undo);
    r.y = y.bits();
    r.dx = dx.bits();
    r.back = back.bits();
  }
  for (const Array* a : {&running_mean, &running_var, &dw, &db}) append(r.parameters, a->bits());
  r.mean = m.mean;
  r.m2 = m.m2;
  return r;
}

// Long enough for several threads to be worth it; few rows and many.
const Dims kThreadedShapes[] = {{1, 1, 400'011}, {2, 3, 60'003}, {100, 11, 101}};

TEST_P(EveryDType, ThreadsChangeNothing) {
  for (const Dims& shape : kThreadedShapes) {
    Inputs in = inputs(GetParam(), shape);
    Outcome single;
    {
      const Threads one(1);
      single = outcome_of(in);
    }
    for (int k = 2; k <= 7; ++k) {
      const Threads several(k);
      EXPECT_TRUE(outcome_of(in) == single) << shape.str() << " on " << k << " threads";
    }
  }
}

TEST_P(EveryDType, RunsAreAlike) {
  for (const Dims& shape : kThreadedShapes) {
    Inputs in = inputs(GetParam(), shape);
    const Threads three(3);
    const Outcome first = outcome_of(in);
    EXPECT_TRUE(outcome_of(in) == first) << shape.str();
  }
}

// Each row alone, in every batch that holds it.
class RowsAlone : public testing::TestWithParam<std::tuple<DType, bool>> {};

INSTANTIATE_TEST_SUITE_P(Bits, RowsAlone,
                         testing::Combine(testing::ValuesIn(kFloats), testing::Bool()),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) +
                                  (std::get<1>(test.param) ? "WithSpecialRows" : "");
                         });

TEST_P(RowsAlone, HaveTheBitsOfTheBatch) {
  const auto [dtype, special] = GetParam();
  for (const std::int64_t L : {2, 7, 17, 40, 100, 300, 511, 1000, 2003, 4096, 4097, 9'000}) {
    constexpr std::int64_t kN = 3, kC = 7;
    Inputs in = special ? with_special_rows(dtype, {kN, kC, L}) : inputs(dtype, {kN, kC, L});
    const Outcome whole = outcome_of(in);
    const std::vector<double> x = in.x.values(), g = in.g.values();
    const auto row_bytes = static_cast<std::ptrdiff_t>(L * size_of(dtype));
    for (std::int64_t r = 0; r < kN * kC; ++r) {
      const auto row_of = [&](const std::vector<double>& v) {
        return Array(dtype, {1, 1, L},
                     std::vector<double>(v.begin() + r * L, v.begin() + (r + 1) * L));
      };
      Inputs alone = {row_of(x), row_of(g)};
      const Outcome row = outcome_of(alone);
      const auto same = [&](const std::vector<std::byte>& all, const std::vector<std::byte>& one) {
        return same_but_for_nan(dtype, all.data() + r * row_bytes, one);
      };
      EXPECT_TRUE(same(whole.y, row.y)) << "y, L " << L << " row " << r;
      EXPECT_TRUE(same(whole.dx, row.dx)) << "dx, L " << L << " row " << r;
      EXPECT_TRUE(same(whole.back, row.back)) << "back, L " << L << " row " << r;
      EXPECT_TRUE(same_bits(whole.mean[static_cast<std::size_t>(r)], row.mean[0])) << L;
      EXPECT_TRUE(same_bits(whole.m2[static_cast<std::size_t>(r)], row.m2[0])) << L;
    }
  }
}

// Channels last: rows as columns of memory, at every number of them around a vector, a line and a
// tile, and at every length around a virtual vector, a chain of them and a block.
TEST_P(EveryDType, ColumnsChangeNothing) {
  const auto compare = [&](const Dims& shape) {
    Inputs rows = inputs(GetParam(), shape);
    const Outcome dense = outcome_of(rows);
    for (const bool in_place : {false, true}) {
      Inputs columns = inputs(GetParam(), shape, Pattern::channels_last, Pattern::channels_last);
      EXPECT_TRUE(outcome_of(columns, in_place) == dense)
          << shape.str() << " in place " << in_place;
    }
  };
  for (const std::int64_t C :
       {2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 150}) {
    compare({2, C, 70});
  }
  for (const std::int64_t L :
       {2,   8,   15,  16,   17,   31,   32,   33,   100,  255,  256,  257,  511,
        512, 513, 544, 1024, 1030, 2047, 2048, 2049, 4095, 4096, 4097, 9'001}) {
    compare({1, 11, L});
  }
}

// Rows of every kind beside each other: those that need other arithmetic do not draw it to others.
TEST_P(EveryDType, NeighboursOfAnotherKindChangeNothing) {
  const double inf = std::numeric_limits<double>::infinity();
  const double top = largest(GetParam()), bottom = smallest_subnormal(GetParam());
  constexpr std::int64_t kRows = 90;
  for (const std::int64_t L : {3, 17, 100, 1000, 5000}) {
    Random random(22);
    std::vector<double> x;
    for (std::int64_t r = 0; r < kRows; ++r) {
      const std::int64_t kind = random.integer(0, 9);
      for (std::int64_t i = 0; i < L; ++i) {
        const double z = random.normal();
        const double row[] = {
            z,         2.0 + z,     0.1, top * std::cos(z),         9 * bottom * z,
            100.0 + z, i ? z : inf, 0.0, i == 2 ? std::nan("") : z, 1e-3 * z};
        x.push_back(row[kind]);
      }
    }
    Call together(GetParam(), {kRows / 3, 3, L}, x);
    together.setting.eps = 0.0;
    instance_norm(together.x.view(), together.y.view(), together.options());
    const std::vector<double> y = together.y.values();
    const Pattern last = Pattern::channels_last;
    Call columns(GetParam(), {1, kRows, L}, x, last, last);
    columns.setting.eps = 0.0;
    instance_norm(columns.x.view(), columns.y.view(), columns.options());
    EXPECT_EQ(columns.y.bits(), together.y.bits()) << L;
    instance_norm(columns.x.view(), columns.x.view(), columns.options());
    EXPECT_EQ(columns.x.bits(), together.y.bits()) << L << " in place";
    for (std::int64_t r = 0; r < kRows; ++r) {
      const auto first = x.begin() + r * L;
      Call alone(GetParam(), {1, 1, L}, std::vector<double>(first, first + L));
      alone.setting.eps = 0.0;
      instance_norm(alone.x.view(), alone.y.view(), alone.options());
      const std::vector<double> row = alone.y.values();
      for (std::int64_t i = 0; i < L; ++i) {
        const double a = y[static_cast<std::size_t>(r * L + i)],
                     b = row[static_cast<std::size_t>(i)];
        ASSERT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << L << " row " << r << " at " << i;
      }
    }
  }
}

// x, g and the outputs at every offset of an element from 64-byte alignment.
TEST_P(EveryDType, AlignmentChangesNothing) {
  const std::int64_t size = size_of(GetParam());
  for (const std::int64_t L : {5, 63, 1000, 5003}) {
    const std::int64_t bytes = 2 * L * size;
    Inputs in = inputs(GetParam(), {1, 2, L});
    const Outcome aligned = outcome_of(in);
    const std::vector<std::byte> x_bits = in.x.bits(), g_bits = in.g.bits();
    Tensor x({bytes + 64}, DType::boolean), g({bytes + 64}, DType::boolean);
    Tensor y({bytes + 64}, DType::boolean), dx({bytes + 64}, DType::boolean);
    const float one = 0.7f;
    const double one_double = 0.7;
    const void* weight = &one_double;
    const DType weight_dtype = GetParam() == DType::float64 ? DType::float64 : DType::float32;
    if (weight_dtype == DType::float32) weight = &one;
    const ConstView w = view(weight, weight_dtype, {2}, {0});
    std::vector<std::byte> first_y, first_dx;
    for (std::int64_t offset = 0; offset < 64; offset += size) {
      const auto at = [&](Tensor& t) { return static_cast<std::byte*>(t.data()) + offset; };
      std::copy(x_bits.begin(), x_bits.end(), at(x));
      std::copy(g_bits.begin(), g_bits.end(), at(g));
      const auto view_of = [&](Tensor& t) {
        return view(static_cast<void*>(at(t)), GetParam(), {1, 2, L});
      };
      Moments m;
      instance_norm(view_of(x), view_of(y), {.weight = w, .save_moments = &m});
      instance_norm_backward(view_of(x), view_of(g), m, {.grad_input = view_of(dx)}, {.weight = w});
      EXPECT_EQ(m.mean, aligned.mean) << L << " at " << offset;
      EXPECT_EQ(m.m2, aligned.m2) << L << " at " << offset;
      const std::vector<std::byte> y_bits(at(y), at(y) + bytes), dx_bits(at(dx), at(dx) + bytes);
      if (offset == 0) {
        first_y = y_bits;
        first_dx = dx_bits;
      }
      EXPECT_TRUE(y_bits == first_y) << L << " at " << offset;
      EXPECT_TRUE(dx_bits == first_dx) << L << " at " << offset;
    }
  }
}

TEST_P(EveryDType, StridesChangeNothing) {
  for (const Dims& shape : {Dims{2, 3, 4, 15}, Dims{1, 2, 53, 100}, Dims{3, 4101}}) {
    Inputs dense = inputs(GetParam(), shape);
    const Outcome expected = outcome_of(dense);
    for (const Pattern in : kOutputPatterns) {
      for (const Pattern out : kOutputPatterns) {
        Inputs strided = inputs(GetParam(), shape, in, out);
        EXPECT_TRUE(outcome_of(strided) == expected)
            << shape.str() << " " << name_of(in) << " -> " << name_of(out);
      }
    }
  }
}

TEST_P(EveryDType, InPlaceChangesNothing) {
  for (const Dims& shape : {Dims{2, 3, 4, 15}, Dims{1, 2, 53, 100}, Dims{1, 2, 9'000}}) {
    for (const Pattern pattern : kOutputPatterns) {
      Inputs apart = inputs(GetParam(), shape, pattern);
      const Outcome expected = outcome_of(apart);
      EXPECT_TRUE(outcome_of(apart, true) == expected) << shape.str() << " " << name_of(pattern);
    }
  }
}

// Outputs too large for the caches may be stored another way; in place they never are.
TEST_P(EveryDType, LargeOutputsAreStoredTheSame) {
  const Dims shape = {1, 3, 600'001};
  Inputs apart = inputs(GetParam(), shape);
  const Outcome expected = outcome_of(apart);
  EXPECT_TRUE(outcome_of(apart, true) == expected);
}

TEST_P(EveryDType, SpecialRowsAmongColumnsAreAsDense) {
  for (const Dims& shape : {Dims{2, 20, 70}, Dims{1, 19, 5000}}) {
    Inputs rows = with_special_rows(GetParam(), shape);
    const Outcome dense = outcome_of(rows);
    for (const bool in_place : {false, true}) {
      Inputs columns = with_special_rows(GetParam(), shape, Pattern::channels_last);
      const Outcome outcome = outcome_of(columns, in_place);
      EXPECT_EQ(outcome.y, dense.y) << shape.str() << " in place " << in_place;
      EXPECT_EQ(outcome.dx, dense.dx) << shape.str() << " in place " << in_place;
      EXPECT_EQ(outcome.parameters, dense.parameters) << shape.str() << " in place " << in_place;
    }
  }
}

// By constant moments x, which may be NaN, has no part in the gradient of the input.
TEST_P(EveryDType, GradientsOfColumnsByConstantMomentsAreAsDense) {
  const Dims shape{2, 20, 70};
  Inputs rows = with_special_rows(GetParam(), shape);
  Moments m = moments(inputs(GetParam(), shape).x.view());
  m.count[3] = 1.0;  // its bias by definition
  const auto gradient = [&](Inputs& in, bool in_place) {
    Array dx(GetParam(), shape, in.out);
    Array& out = in_place ? in.g : dx;
    instance_norm_backward(in.x.view(), in.g.view(), m, {.grad_input = out.view()},
                           {.use_input_stats = false});
    return out.bits();
  };
  const std::vector<std::byte> dense = gradient(rows, false);
  for (const bool in_place : {false, true}) {
    Inputs columns = with_special_rows(GetParam(), shape, Pattern::channels_last);
    EXPECT_EQ(gradient(columns, in_place), dense) << "in place " << in_place;
  }
}

}  // namespace
}  // namespace instnorm::test
