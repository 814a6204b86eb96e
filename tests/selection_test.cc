// Bits: a row of which a mask or a NaN policy leaves some values equals the row of these values
// alone, in whatever place, layout and arithmetic.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "extras_calls.h"

namespace instnorm::test {
namespace {

class Selection : public EveryDType {};
INSTANTIATE_TEST_SUITE_P(Extras, Selection, kEveryDType, kDTypeName);

struct Pass {
  Array y, dx, dw, db;
  Moments saved;
};

Pass run(Array& x, Array& g, Options o) {
  const DType dtype = x.dtype(), parameters = wide_parameters(dtype);
  const Dims rows{x.shape()[0], x.shape()[1]};
  Pass r{Array(dtype, x.shape()),
         Array(dtype, x.shape()),
         Array(parameters, rows),
         Array(parameters, rows),
         {}};
  const std::vector<double> of_rows(static_cast<std::size_t>(rows.product()), 1.5);
  Array weight(parameters, rows, of_rows), bias(parameters, rows, of_rows);
  o.weight = weight.view();
  o.bias = bias.view();
  o.save_moments = &r.saved;
  instance_norm(x.view(), r.y.view(), o);
  instance_norm_backward(
      x.view(), g.view(), r.saved,
      {.grad_input = r.dx.view(), .grad_weight = r.dw.view(), .grad_bias = r.db.view()},
      {.weight = o.weight,
       .bias = o.bias,
       .eps = o.eps,
       .mask = o.mask,
       .nan_policy = o.nan_policy,
       .activation = o.activation});
  return r;
}

// Element i of `all` where the i-th flag is set.
std::vector<std::byte> chosen(const Array& all, const std::vector<char>& flags) {
  const std::vector<std::byte> bits = all.bits();
  const auto size = static_cast<std::size_t>(size_of(all.dtype()));
  std::vector<std::byte> some;
  for (std::size_t i = 0; i < flags.size(); ++i) {
    if (!flags[i]) continue;
    some.insert(some.end(), bits.data() + i * size, bits.data() + (i + 1) * size);
  }
  return some;
}

// Of common values, of such as need the wide arithmetic, and of a large mean.
struct Values {
  const char* name;
  double mean, std;
};

std::vector<Values> values_of(DType dtype) {
  std::vector<Values> v = {{"common", 0.3, 1.0}, {"far", 1000.0, 2.0}};
  if (dtype == DType::float32 || dtype == DType::bfloat16) v.push_back({"huge", 0.0, 1e37});
  if (dtype == DType::float64) v.push_back({"huge", 0.0, 1e307});
  return v;
}

TEST_P(Selection, EqualsTheChosenValuesAlone) {
  const DType dtype = GetParam();
  for (const std::int64_t L : {std::int64_t{40}, std::int64_t{3000}, std::int64_t{12000}}) {
    for (const Values& of : values_of(dtype)) {
      for (const bool by_mask : {true, false}) {
        for (const Activation activation : {Activation::none, Activation::silu}) {
          SCOPED_TRACE(std::string(of.name) + (by_mask ? " by mask" : " by omit") + ", L " +
                       std::to_string(L) + ", activation " +
                       std::to_string(static_cast<int>(activation)));
          Random random(static_cast<std::uint64_t>(L));
          const std::int64_t size = 3 * L;
          std::vector<double> x = normal_values(random, size, of.mean, of.std);
          std::vector<double> g = normal_values(random, size), mask(x.size());
          std::vector<std::vector<double>> x_alone(3), g_alone(3);
          std::vector<char> there(x.size());
          for (std::size_t i = 0; i < x.size(); ++i) {
            const std::size_t row = i / static_cast<std::size_t>(L);
            there[i] = random.integer(0, 3) > static_cast<std::int64_t>(row) ? 1 : 0;
            mask[i] = there[i];
            if (there[i]) {
              x_alone[row].push_back(x[i]);
              g_alone[row].push_back(g[i]);
            } else {
              x[i] = g[i] = kNaN;
            }
          }
          Array all(dtype, {1, 3, L}, x), all_g(dtype, {1, 3, L}, g);
          const Mask of_call({1, 3, L}, mask);
          Options o{.activation = activation};
          if (by_mask) {
            o.mask = of_call.view();
          } else {
            o.nan_policy = NanPolicy::omit;
          }
          const Pass got = run(all, all_g, o);
          for (std::size_t row = 0; row < 3; ++row) {
            const Dims shape{1, 1, static_cast<std::int64_t>(x_alone[row].size())};
            Array alone(dtype, shape, x_alone[row]), alone_g(dtype, shape, g_alone[row]);
            const Pass wanted = run(alone, alone_g, {.activation = activation});
            std::vector<char> of_row(there.size(), 0);
            for (std::size_t i = 0; i < there.size(); ++i) {
              of_row[i] = i / static_cast<std::size_t>(L) == row ? there[i] : char{0};
            }
            EXPECT_TRUE(chosen(got.y, of_row) == wanted.y.bits()) << "y of row " << row;
            EXPECT_TRUE(chosen(got.dx, of_row) == wanted.dx.bits()) << "grad_input of row " << row;
            EXPECT_EQ(got.saved.count[row], wanted.saved.count[0]);
            EXPECT_EQ(got.saved.mean[row], wanted.saved.mean[0]);
            EXPECT_EQ(got.saved.m2[row], wanted.saved.m2[0]);
            std::vector<char> of_parameters(3, 0);
            of_parameters[row] = 1;
            EXPECT_TRUE(chosen(got.dw, of_parameters) == wanted.dw.bits()) << "weight " << row;
            EXPECT_TRUE(chosen(got.db, of_parameters) == wanted.db.bits()) << "bias " << row;
          }
        }
      }
    }
  }
}

// With rows longer than the threads are many, and fewer of them: each row is shared.
TEST_P(Selection, DoesNotDependOnThreads) {
  const DType dtype = GetParam();
  constexpr std::int64_t kL = 40000;
  Random random(1);
  std::vector<double> mask;
  for (std::int64_t l = 0; l < kL; ++l) mask.push_back(random.integer(0, 2) > 0);
  Array x(dtype, {1, 1, kL}, normal_values(random, kL)),
      g(dtype, {1, 1, kL}, normal_values(random, kL));
  const Mask of_call({1, kL}, mask);
  const int before = get_num_threads();
  set_num_threads(1);
  const Pass alone = run(x, g, {.mask = of_call.view(), .activation = Activation::gelu});
  set_num_threads(4);
  const Pass shared = run(x, g, {.mask = of_call.view(), .activation = Activation::gelu});
  set_num_threads(before);
  EXPECT_TRUE(alone.y.bits() == shared.y.bits());
  EXPECT_TRUE(alone.dx.bits() == shared.dx.bits());
  EXPECT_EQ(alone.dw.values(), shared.dw.values());
  EXPECT_EQ(alone.db.values(), shared.db.values());
  EXPECT_EQ(alone.saved.m2, shared.saved.m2);
}

}  // namespace
}  // namespace instnorm::test
