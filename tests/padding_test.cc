// What is not there has no effect, and what is there is treated as if it stood alone: lengths, mask
// and nan_policy by their rules.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "extras_calls.h"

namespace instnorm::test {
namespace {

class Padding : public EveryDType {};
INSTANTIATE_TEST_SUITE_P(Extras, Padding, kEveryDType, kDTypeName);

// The bits of all that a forward and a backward give.
struct Results {
  std::vector<std::byte> y, dx, dw, db;
  Moments saved;
};

void expect_same(const Results& a, const Results& b) {
  EXPECT_TRUE(a.y == b.y) << "y";
  EXPECT_TRUE(a.dx == b.dx) << "grad_input";
  EXPECT_TRUE(a.dw == b.dw) << "grad_weight";
  EXPECT_TRUE(a.db == b.db) << "grad_bias";
  EXPECT_EQ(a.saved.count, b.saved.count);
  EXPECT_EQ(a.saved.mean, b.saved.mean);
  EXPECT_EQ(a.saved.m2, b.saved.m2);
}

struct Inputs {
  Array x, g, weight, bias;
};

Inputs inputs(DType dtype, const Dims& shape, std::uint64_t seed = 5) {
  Random random(seed);
  Inputs in;
  in.x = Array(dtype, shape, normal_values(random, shape.product(), 2.0, 1.5));
  in.g = Array(dtype, shape, normal_values(random, shape.product()));
  const Dims rows{shape[0], shape[1]};
  const DType parameters = wide_parameters(dtype);
  in.weight = Array(parameters, rows, normal_values(random, rows.product(), 1.0, 0.5));
  in.bias = Array(parameters, rows, normal_values(random, rows.product()));
  return in;
}

// Parameters are (N, C), so that the gradients are of each row. In NLC the shapes are (N, L, C).
Results run(Inputs& in, Options o, NanPolicy policy = NanPolicy::propagate) {
  const DType dtype = in.x.dtype();
  Results r;
  Array y(dtype, in.x.shape()), dx(dtype, in.x.shape());
  Array dw(in.weight.dtype(), in.weight.shape()), db(in.weight.dtype(), in.weight.shape());
  o.weight = in.weight.view();
  o.bias = in.bias.view();
  o.nan_policy = policy;
  o.save_moments = &r.saved;
  instance_norm(in.x.view(), y.view(), o);
  instance_norm_backward(
      in.x.view(), in.g.view(), r.saved,
      {.grad_input = dx.view(), .grad_weight = dw.view(), .grad_bias = db.view()},
      {.weight = o.weight,
       .bias = o.bias,
       .lengths = o.lengths,
       .mask = o.mask,
       .nan_policy = policy,
       .data_format = o.data_format,
       .activation = o.activation});
  r.y = y.bits();
  r.dx = dx.bits();
  r.dw = dw.bits();
  r.db = db.bits();
  return r;
}

// Elements [from, from + count) of each row become `value`.
void overwrite(Array& a, std::int64_t n, std::int64_t from, double value) {
  std::vector<double> v = a.values();
  const std::int64_t C = a.shape()[1], L = a.shape()[2];
  for (std::int64_t c = 0; c < C; ++c) {
    for (std::int64_t l = from; l < L; ++l)
      v[static_cast<std::size_t>((n * C + c) * L + l)] = value;
  }
  a.set(v);
}

// Within a block of the arithmetic, and beyond two.
const std::int64_t kRowLengths[] = {100, 9000};

std::vector<std::int64_t> lengths_for(std::int64_t L) { return {L, L / 2, 2, 1, 0, L - 1}; }

TEST_P(Padding, HasNoEffect) {
  for (const std::int64_t L : kRowLengths) {
    for (const Activation activation : {Activation::none, Activation::gelu}) {
      const std::vector<std::int64_t> lengths = lengths_for(L);
      Inputs in = inputs(GetParam(), {6, 2, L});
      const Options o{.lengths = view(lengths, {6}), .activation = activation};
      const Results clean = run(in, o);
      for (const double value : {kNaN, -kInf, 3e4}) {
        if (L > 4096 && std::isfinite(value)) continue;
        for (std::size_t n = 0; n < 6; ++n) {
          overwrite(in.x, static_cast<std::int64_t>(n), lengths[n], value);
          overwrite(in.g, static_cast<std::int64_t>(n), lengths[n], -value);
        }
        for (const NanPolicy policy : {NanPolicy::propagate, NanPolicy::omit, NanPolicy::raise}) {
          SCOPED_TRACE(std::to_string(value) + " with policy " +
                       std::to_string(static_cast<int>(policy)) + ", L = " + std::to_string(L));
          expect_same(run(in, o, policy), clean);
        }
      }
    }
  }
}

std::vector<std::byte> row_bits(const Array& a, std::int64_t n, std::int64_t length) {
  const std::vector<std::byte> all = a.bits();
  const std::int64_t C = a.shape()[1], L = a.shape()[2], size = size_of(a.dtype());
  std::vector<std::byte> some;
  for (std::int64_t c = 0; c < C; ++c) {
    const auto* first = all.data() + (n * C + c) * L * size;
    some.insert(some.end(), first, first + length * size);
  }
  return some;
}

TEST_P(Padding, OfABatchLeavesEachSequenceAsItIsAlone) {
  const DType dtype = GetParam();
  for (const std::int64_t L : kRowLengths) {
    const std::vector<std::int64_t> lengths = {L, L / 2, 2, L - 1, 5};
    constexpr std::int64_t kN = 5, kC = 3;
    Inputs in = inputs(dtype, {kN, kC, L});
    Array y(dtype, in.x.shape()), dx(dtype, in.x.shape());
    Moments saved;
    instance_norm(
        in.x.view(), y.view(),
        {.lengths = view(lengths, {kN}), .activation = Activation::silu, .save_moments = &saved});
    instance_norm_backward(in.x.view(), in.g.view(), saved, {.grad_input = dx.view()},
                           {.lengths = view(lengths, {kN}), .activation = Activation::silu});
    for (std::int64_t n = 0; n < kN; ++n) {
      const std::int64_t length = lengths[static_cast<std::size_t>(n)];
      SCOPED_TRACE("L = " + std::to_string(L) + ", length " + std::to_string(length));
      const auto part = [&](Array& a) {
        const View v = a.view();
        return view(static_cast<const void*>(static_cast<const std::byte*>(v.data) +
                                             n * kC * L * size_of(dtype)),
                    dtype, {1, kC, length}, {kC * L, L, 1});
      };
      Array alone(dtype, {1, kC, length}), dx_alone(dtype, {1, kC, length});
      Moments of_alone;
      instance_norm(part(in.x), alone.view(),
                    {.activation = Activation::silu, .save_moments = &of_alone});
      instance_norm_backward(part(in.x), part(in.g), of_alone, {.grad_input = dx_alone.view()},
                             {.activation = Activation::silu});
      EXPECT_TRUE(row_bits(y, n, length) == row_bits(alone, 0, length));
      EXPECT_TRUE(row_bits(dx, n, length) == row_bits(dx_alone, 0, length));
      for (std::size_t c = 0; c < kC; ++c) {
        const std::size_t i = static_cast<std::size_t>(n) * kC + c;
        EXPECT_EQ(saved.count[i], of_alone.count[c]);
        EXPECT_EQ(saved.mean[i], of_alone.mean[c]);
        EXPECT_EQ(saved.m2[i], of_alone.m2[c]);
      }
    }
  }
}

TEST_P(Padding, ByAMaskOverAPrefixIsThatByLengths) {
  for (const std::int64_t L : kRowLengths) {
    for (const Activation activation : {Activation::none, Activation::gelu_tanh}) {
      SCOPED_TRACE("L = " + std::to_string(L));
      const std::vector<std::int64_t> lengths = lengths_for(L);
      std::vector<std::int32_t> narrow(lengths.begin(), lengths.end());
      std::vector<double> bytes;
      for (const std::int64_t length : lengths) {
        for (std::int64_t l = 0; l < L; ++l) bytes.push_back(l < length);
      }
      const Mask mask({6, L}, bytes), expanded({6, 3, L}, bytes, {L, 0, 1});
      Inputs in = inputs(GetParam(), {6, 3, L});
      for (std::size_t n = 0; n < 6; ++n) {
        overwrite(in.x, static_cast<std::int64_t>(n), lengths[n], kNaN);
      }
      const Results by_lengths = run(in, {.lengths = view(lengths, {6}), .activation = activation});
      expect_same(run(in, {.lengths = view(narrow, {6}), .activation = activation}), by_lengths);
      expect_same(run(in, {.mask = mask.view(), .activation = activation}), by_lengths);
      expect_same(run(in, {.mask = expanded.view(), .activation = activation}), by_lengths);
    }
  }
}

TEST_P(Padding, OfNothingChangesNothing) {
  for (const std::int64_t L : kRowLengths) {
    SCOPED_TRACE("L = " + std::to_string(L));
    Inputs in = inputs(GetParam(), {6, 3, L});
    const Results plain = run(in, {});
    const std::vector<std::int64_t> lengths(6, L);
    const Mask mask({6, L}, std::vector<double>(static_cast<std::size_t>(6 * L), 1.0));
    expect_same(run(in, {.lengths = view(lengths, {6})}), plain);
    expect_same(run(in, {.mask = mask.view()}), plain);
    expect_same(run(in, {}, NanPolicy::omit), plain);
    expect_same(run(in, {}, NanPolicy::raise), plain);
  }
}

TEST_P(Padding, LeavesTheBiasToRowsOfFewerThanTwoValues) {
  const DType dtype = GetParam();
  const std::vector<std::int64_t> lengths = {0, 1, 8};
  Inputs in = inputs(dtype, {3, 1, 8});
  in.weight = Array(wide_parameters(dtype), {3, 1}, {2.0, 2.0, 2.0});
  in.bias = Array(wide_parameters(dtype), {3, 1}, {0.5, 0.75, 0.25});
  Array mean(wide_parameters(dtype), {1}, {10.0}), var(wide_parameters(dtype), {1}, {4.0});
  const Results r = run(in, {.running_mean = mean.view(),
                             .running_var = var.view(),
                             .momentum = 1.0,
                             .lengths = view(lengths, {3})});
  Array y(dtype, {3, 1, 8}), dx(dtype, {3, 1, 8}), db(wide_parameters(dtype), {3, 1}),
      dw(wide_parameters(dtype), {3, 1});
  std::memcpy(y.view().data, r.y.data(), r.y.size());
  std::memcpy(dx.view().data, r.dx.data(), r.dx.size());
  std::memcpy(db.view().data, r.db.data(), r.db.size());
  std::memcpy(dw.view().data, r.dw.data(), r.dw.size());
  const std::vector<double> values = y.values(), gradient = dx.values(), x = in.x.values();
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(values[i], i == 8 ? 0.75 : 0.0) << i;
    EXPECT_EQ(gradient[i], 0.0) << i;
  }
  EXPECT_EQ(db.values()[0], 0.0);
  EXPECT_EQ(db.values()[1], in.g.values()[8]);
  EXPECT_EQ(dw.values()[0], 0.0);
  EXPECT_EQ(dw.values()[1], 0.0);
  // With a momentum of 1 the running statistics are those of the third instance alone.
  EXPECT_EQ(mean.values()[0], quantize(mean.dtype(), r.saved.mean[2]));
  EXPECT_EQ(var.values()[0], quantize(var.dtype(), r.saved.m2[2] / 7.0));
  EXPECT_EQ(r.saved.count, (std::vector<double>{0.0, 1.0, 8.0}));
}

TEST_P(Padding, OfEveryRowLeavesTheRunningStatistics) {
  const DType dtype = GetParam();
  const std::vector<std::int64_t> lengths = {0, 1};
  Inputs in = inputs(dtype, {2, 1, 8});
  Array mean(wide_parameters(dtype), {1}, {10.0}), var(wide_parameters(dtype), {1}, {4.0});
  Array y(dtype, {2, 1, 8});
  instance_norm(
      in.x.view(), y.view(),
      {.running_mean = mean.view(), .running_var = var.view(), .lengths = view(lengths, {2})});
  EXPECT_EQ(mean.values()[0], 10.0);
  EXPECT_EQ(var.values()[0], 4.0);
}

TEST_P(Padding, IsAnOrdinaryRowToRunningStatistics) {
  const DType dtype = GetParam();
  const std::vector<std::int64_t> lengths = {1};
  Array x(dtype, {1, 1, 4}, {3.0, kNaN, kNaN, kNaN}), y(dtype, {1, 1, 4});
  Array mean(wide_parameters(dtype), {1}, {1.0}), var(wide_parameters(dtype), {1}, {4.0});
  instance_norm(x.view(), y.view(),
                {.running_mean = mean.view(),
                 .running_var = var.view(),
                 .use_input_stats = false,
                 .eps = 0.0,
                 .lengths = view(lengths, {1})});
  EXPECT_EQ(y.values(), (std::vector<double>{1.0, 0.0, 0.0, 0.0}));
}

TEST_P(Padding, LetsALengthOfOneBe) {
  const DType dtype = GetParam();
  const std::vector<std::int64_t> lengths = {1, 0};
  const Mask mask({2, 1}, {1.0, 0.0});
  Array x(dtype, {2, 1, 1}, {3.0, 3.0}), y(dtype, {2, 1, 1});
  EXPECT_THROW(instance_norm(x.view(), y.view()), std::invalid_argument);
  EXPECT_THROW(instance_norm(x.view(), y.view(), {.nan_policy = NanPolicy::raise}),
               std::invalid_argument);
  instance_norm(x.view(), y.view(), {.lengths = view(lengths, {2})});
  EXPECT_EQ(y.values(), (std::vector<double>{0.0, 0.0}));
  instance_norm(x.view(), y.view(), {.mask = mask.view()});
  EXPECT_EQ(y.values(), (std::vector<double>{0.0, 0.0}));
  instance_norm(x.view(), y.view(), {.nan_policy = NanPolicy::omit});
  EXPECT_EQ(y.values(), (std::vector<double>{0.0, 0.0}));
}

class NanPolicies : public EveryDType {};
INSTANTIATE_TEST_SUITE_P(Extras, NanPolicies, kEveryDType, kDTypeName);

TEST_P(NanPolicies, OmitKeepsNaN) {
  for (const Activation activation : kActivations) {
    Inputs in = inputs(GetParam(), {1, 1, 50});
    std::vector<double> values = in.x.values();
    values[3] = values[30] = kNaN;
    in.x.set(values);
    Array y(GetParam(), {1, 1, 50}), dx(GetParam(), {1, 1, 50});
    Moments saved;
    instance_norm(
        in.x.view(), y.view(),
        {.nan_policy = NanPolicy::omit, .activation = activation, .save_moments = &saved});
    instance_norm_backward(in.x.view(), in.g.view(), saved, {.grad_input = dx.view()},
                           {.nan_policy = NanPolicy::omit, .activation = activation});
    EXPECT_EQ(saved.count[0], 48.0);
    for (std::size_t i = 0; i < 50; ++i) {
      const bool omitted = i == 3 || i == 30;
      EXPECT_EQ(std::isnan(y.values()[i]), omitted) << i;
      EXPECT_FALSE(std::isnan(dx.values()[i])) << i;
      EXPECT_TRUE(!omitted || dx.values()[i] == 0.0) << i;
    }
  }
}

// Of any bits: rounded as numbers are, those of the largest NaN would overflow to 0.
TEST_P(NanPolicies, PropagateKeepsNaNOfParameters) {
  Inputs in = inputs(GetParam(), {1, 1, 50});
  Array y(GetParam(), {1, 1, 50}), weight(wide_parameters(GetParam()), {1});  // all bits 1
  instance_norm(in.x.view(), y.view(), {.weight = weight.view()});
  for (const double v : y.values()) EXPECT_TRUE(std::isnan(v));
}

TEST_P(NanPolicies, PropagatePoisonsTheRowAlone) {
  Inputs in = inputs(GetParam(), {2, 1, 50});
  std::vector<double> values = in.x.values();
  values[3] = kNaN;
  in.x.set(values);
  Array y(GetParam(), {2, 1, 50});
  instance_norm(in.x.view(), y.view());
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(std::isnan(y.values()[i]), i < 50) << i;
}

TEST_P(NanPolicies, RaiseSeesEveryValue) {
  constexpr std::int64_t kLong = 5000;  // several blocks
  for (const std::int64_t L : {std::int64_t{5}, kLong}) {
    for (const std::int64_t at : {0, 1, 4, 2047, 2048, 4095, 4096, 4999}) {
      if (at >= L) continue;
      Inputs in = inputs(GetParam(), {1, 2, L});
      std::vector<double> values = in.x.values();
      values[static_cast<std::size_t>(L + at)] = kNaN;
      in.x.set(values);
      EXPECT_THROW(moments(in.x.view(), {.nan_policy = NanPolicy::raise}), std::invalid_argument)
          << L << " " << at;
    }
  }
}

TEST_P(NanPolicies, RaiseWritesNothing) {
  const DType dtype = GetParam();
  for (const std::int64_t L : kRowLengths) {
    Inputs in = inputs(dtype, {2, 3, L});
    std::vector<double> values = in.x.values();
    values[static_cast<std::size_t>((3 + 1) * L + L - 1)] = kNaN;
    in.x.set(values);
    Array y(dtype, {2, 3, L}), mean(wide_parameters(dtype), {3}, {1, 2, 3}),
        var(wide_parameters(dtype), {3}, {1, 2, 3});
    Moments saved = Moments::empty(1, 1);
    const std::vector<std::byte> before = y.memory(), mean_before = mean.memory();
    const auto message = [&](auto call) -> std::string {
      try {
        call();
      } catch (const std::invalid_argument& e) {
        return e.what();
      }
      return "";
    };
    const Options o{.running_mean = mean.view(),
                    .running_var = var.view(),
                    .nan_policy = NanPolicy::raise,
                    .save_moments = &saved};
    EXPECT_EQ(message([&] { instance_norm(in.x.view(), y.view(), o); }),
              "[instance_norm] x has a NaN at n = 1, c = 1, and nan_policy is \"raise\"");
    EXPECT_EQ(message([&] { moments(in.x.view(), {.nan_policy = NanPolicy::raise}); }),
              "[moments] x has a NaN at n = 1, c = 1, and nan_policy is \"raise\"");
    EXPECT_EQ(message([&] {
                instance_norm_backward(in.x.view(), in.g.view(), Moments::empty(2, 3),
                                       {.grad_input = y.view()}, {.nan_policy = NanPolicy::raise});
              }),
              "[instance_norm_backward] x has a NaN at n = 1, c = 1, and nan_policy is \"raise\"");
    EXPECT_TRUE(y.memory() == before);
    EXPECT_TRUE(mean.memory() == mean_before);
    EXPECT_EQ(saved.N, 1);
    // What the mask leaves out is not looked at.
    std::vector<double> bytes(static_cast<std::size_t>(2 * L), 1.0);
    bytes.back() = 0.0;
    const Mask mask({2, L}, bytes);
    Options masked = o;
    masked.mask = mask.view();
    EXPECT_NO_THROW(instance_norm(in.x.view(), y.view(), masked));
  }
}

class DataFormats : public EveryDType {};
INSTANTIATE_TEST_SUITE_P(Extras, DataFormats, kEveryDType, kDTypeName);

// The same values in both layouts give the same bits, element by element.
TEST_P(DataFormats, NlcEqualsTransposed) {
  for (const std::int64_t C : {1, 3, 40}) {
    for (const std::int64_t L : kRowLengths) {
      if (C == 40 && L > 4096) continue;
      const ExtrasCase shape{.N = 2, .C = C, .L = L, .format = DataFormat::NLC};
      Inputs in = inputs(GetParam(), {2, C, L});
      Inputs last = inputs(GetParam(), {2, C, L});
      last.x = Array(GetParam(), {2, L, C}, to_layout(shape, in.x.values()));
      last.g = Array(GetParam(), {2, L, C}, to_layout(shape, in.g.values()));
      const std::vector<std::int64_t> lengths = {L, L / 3};
      for (const bool padded : {false, true}) {
        Options o{.activation = Activation::silu};
        if (padded) o.lengths = view(lengths, {2});
        Results wanted = run(in, o);
        o.data_format = DataFormat::NLC;
        Results got = run(last, o);
        const auto transposed = [&](const std::vector<std::byte>& bits) {
          Array a(GetParam(), {2, L, C});
          std::memcpy(a.view().data, bits.data(), bits.size());
          return Array(GetParam(), {2, C, L}, from_layout(shape, a.values())).bits();
        };
        got.y = transposed(got.y);
        got.dx = transposed(got.dx);
        expect_same(got, wanted);
      }
    }
  }
}

TEST_P(DataFormats, DenormalizeInvertsEither) {
  for (const DataFormat format : {DataFormat::NCL, DataFormat::NLC}) {
    const ExtrasCase shape{.N = 2, .C = 3, .L = 50, .format = format};
    const Dims dims = format == DataFormat::NLC ? Dims{2, 50, 3} : Dims{2, 3, 50};
    Inputs in = inputs(GetParam(), {2, 3, 50});
    Array x(GetParam(), dims, to_layout(shape, in.x.values())), y(GetParam(), dims),
        back(GetParam(), dims);
    Moments saved;
    instance_norm(x.view(), y.view(), {.data_format = format, .save_moments = &saved});
    denormalize(y.view(), saved, back.view(), {.data_format = format});
    const std::vector<double> wanted = x.values(), got = back.values();
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      // y, up to about 4, and what comes back, up to about 8, are rounded once each.
      EXPECT_NEAR(got[i], wanted[i],
                  16 * unit_roundoff(GetParam()) + 1e-5 * (GetParam() != DType::float64));
    }
  }
}

}  // namespace
}  // namespace instnorm::test
