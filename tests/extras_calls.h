// A call with lengths, a mask, NaN, a layout and an activation, in memory of any stride pattern,
// and its check against extras_reference.h.
#pragma once

#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "calls.h"
#include "extras_reference.h"

namespace instnorm::test {

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

enum class Where { all, lengths, mask_nl, mask_n1l, mask_ncl };
inline constexpr Where kWhere[] = {Where::all, Where::lengths, Where::mask_nl, Where::mask_n1l,
                                   Where::mask_ncl};

struct ExtrasCase {
  DType dtype = DType::float32;
  std::int64_t N = 4, C = 3, L = 37;
  bool batched = true;  // else rank 2
  Where where = Where::all;
  bool omit = false;
  DataFormat format = DataFormat::NCL;
  Given parameters = Given::absent;
  Activation activation = Activation::none;
  NormalisedBy by = NormalisedBy::own;
  Pattern pattern = Pattern::dense;
  bool in_place = false;
  double weight_offset = 0.0;

  std::string str() const {
    static constexpr const char* kWhereNames[] = {"all", "lengths", "mask (N, L)", "mask (N, 1, L)",
                                                  "mask (N, C, L)"};
    static constexpr const char* kBy[] = {"own", "running", "given"};
    const auto number = [](auto e) { return std::to_string(static_cast<int>(e)); };
    return std::string(name(dtype)) + " " + Dims{N, C, L}.str() + (batched ? "" : " rank 2") +
           ", " + kWhereNames[static_cast<int>(where)] + (omit ? ", omit" : "") +
           (format == DataFormat::NLC ? ", NLC" : "") + ", parameters " + number(parameters) +
           ", activation " + number(activation) + ", by " + kBy[static_cast<int>(by)] + ", " +
           name_of(pattern) + (in_place ? ", in place" : "");
  }
};

// (N, C, L) values in the order of the call's layout, and back.
inline std::vector<double> to_layout(const ExtrasCase& c, const std::vector<double>& v) {
  if (c.format == DataFormat::NCL) return v;
  std::vector<double> t(v.size());
  std::size_t i = 0;
  for (std::int64_t n = 0; n < c.N; ++n) {
    for (std::int64_t k = 0; k < c.C; ++k) {
      for (std::int64_t l = 0; l < c.L; ++l) {
        t[static_cast<std::size_t>((n * c.L + l) * c.C + k)] = v[i++];
      }
    }
  }
  return t;
}

inline std::vector<double> from_layout(const ExtrasCase& c, const std::vector<double>& v) {
  if (c.format == DataFormat::NCL) return v;
  ExtrasCase swapped = c;
  std::swap(swapped.C, swapped.L);
  return to_layout(swapped, v);
}

// A mask's bytes behind a view.
class Mask {
 public:
  Mask() = default;
  Mask(const Dims& shape, const std::vector<double>& values, const Dims& strides = {})
      : shape_(shape), strides_(strides), bytes_(values.size()) {
    for (std::size_t i = 0; i < values.size(); ++i) bytes_[i] = values[i] != 0.0;
  }
  ConstView view() const {
    return bytes_.empty() ? ConstView{}
                          : instnorm::view(static_cast<const void*>(bytes_.data()), DType::boolean,
                                           shape_, strides_);
  }

 private:
  Dims shape_, strides_;
  std::vector<std::uint8_t> bytes_;
};

class ExtrasCall {
 public:
  explicit ExtrasCall(const ExtrasCase& of, std::uint64_t seed = 3)
      : c(of),
        call_(of.dtype, Dims{of.N, of.C, of.L}, std::vector<double>(size_of_x()), Pattern::dense) {
    Random random(seed);
    choose_values(random);
    reference.setting = call_.setting;
    give();
    x = normal_values(random, static_cast<std::int64_t>(size_of_x()), 0.7, 1.3);
    g = normal_values(random, static_cast<std::int64_t>(size_of_x()), 0.2, 1.0);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (c.omit && (i < static_cast<std::size_t>(c.L) || random.integer(0, 9) == 0)) x[i] = kNaN;
      if (reference.valid[i]) continue;
      x[i] = i % 3 == 0 ? kNaN : i % 3 == 1 ? kInf : -kInf;
      g[i] = i % 2 == 0 ? kNaN : kInf;
    }
    quantize(c.dtype, x);
    quantize(c.dtype, g);
    if (c.by == NormalisedBy::given) choose_moments(random);
  }

  Dims shape() const {
    const bool last = c.format == DataFormat::NLC;
    const std::int64_t first = last ? c.L : c.C, second = last ? c.C : c.L;
    return c.batched ? Dims{c.N, first, second} : Dims{first, second};
  }
  Array array(const std::vector<double>& ncl) const {
    return Array(c.dtype, shape(), to_layout(c, ncl), c.pattern);
  }

  Options options() {
    Options o = call_.options();
    o.use_input_stats = c.by != NormalisedBy::running;
    if (c.by == NormalisedBy::given) o.moments = &given;
    o.lengths = lengths_view();
    o.mask = mask.view();
    if (c.omit) o.nan_policy = NanPolicy::omit;
    o.data_format = c.format;
    o.activation = c.activation;
    o.save_moments = &saved;
    return o;
  }
  BackwardOptions backward_options() {
    const Options o = options();
    return {.weight = o.weight,
            .bias = o.bias,
            .eps = o.eps,
            .use_input_stats = c.by == NormalisedBy::own,
            .lengths = o.lengths,
            .mask = o.mask,
            .nan_policy = o.nan_policy,
            .data_format = o.data_format,
            .weight_offset = o.weight_offset,
            .activation = o.activation};
  }

  // Everything that the call gives, forward and backward.
  void check() {
    SCOPED_TRACE(c.str());
    const std::vector<Stats<long double>> rows = statistics_used();
    check_forward(rows);
    check_backward(rows);
  }

  ExtrasCase c;
  Extras reference;
  std::vector<double> x, g;  // (N, C, L)
  std::vector<std::int64_t> lengths;
  Mask mask;
  Moments given, saved;

 private:
  std::size_t size_of_x() const { return static_cast<std::size_t>(c.N * c.C * c.L); }
  ConstView lengths_view() const {
    return lengths.empty() ? ConstView{} : instnorm::view(lengths, {c.N});
  }

  void give() {
    const DType parameters = wide_parameters(c.dtype);
    call_.setting.weight_offset = c.weight_offset;
    call_.give(c.parameters, c.parameters, parameters);
    call_.give_running(parameters);
    reference.setting = call_.setting;
    reference.omit = c.omit;
    reference.activation = c.activation;
    reference.by = c.by;
  }

  // Among the rows are such with no value, with one, with all.
  void choose_values(Random& random) {
    std::vector<char>& valid = reference.valid;
    valid.assign(size_of_x(), 1);
    const auto at = [&](std::int64_t n, std::int64_t k, std::int64_t l) {
      return static_cast<std::size_t>((n * c.C + k) * c.L + l);
    };
    if (c.where == Where::all) return;
    if (c.where == Where::lengths) {
      for (std::int64_t n = 0; n < c.N; ++n) {
        const std::int64_t of_n[] = {c.L - c.L / 3, 0, c.L, 1};
        lengths.push_back(of_n[n % 4]);
        for (std::int64_t k = 0; k < c.C; ++k) {
          for (std::int64_t l = lengths.back(); l < c.L; ++l) valid[at(n, k, l)] = 0;
        }
      }
      return;
    }
    const bool of_channels = c.where == Where::mask_ncl;
    const std::int64_t channels = of_channels ? c.C : 1;
    std::vector<double> m;
    for (std::int64_t n = 0; n < c.N; ++n) {
      for (std::int64_t k = 0; k < channels; ++k) {
        const std::int64_t kind = (n * channels + k) % 5;
        for (std::int64_t l = 0; l < c.L; ++l) {
          const bool is = kind == 1   ? false
                          : kind == 2 ? l == c.L / 2
                                      : kind == 3 || random.integer(0, 2) > 0;
          m.push_back(is);
          for (std::int64_t to = k; to < (of_channels ? k + 1 : c.C); ++to)
            valid[at(n, to, l)] = is ? 1 : 0;
        }
      }
    }
    const bool last = c.format == DataFormat::NLC;
    if (c.where == Where::mask_nl) {
      mask = Mask({c.N, c.L}, m);
    } else if (last && of_channels) {
      mask = Mask({c.N, c.L, c.C}, to_layout(c, m));
    } else {
      mask = last ? Mask({c.N, c.L, 1}, m) : Mask({c.N, channels, c.L}, m);
    }
  }

  void choose_moments(Random& random) {
    given = Moments::empty(c.N, c.C);
    for (std::size_t i = 0; i < given.count.size(); ++i) {
      if (i == 1) continue;  // of no value
      given.count[i] = static_cast<double>(2 + random.integer(0, 40));
      given.mean[i] = random.uniform(-1, 1);
      given.m2[i] = given.count[i] * random.uniform(0.5, 2);
    }
  }

  std::vector<Stats<long double>> statistics_used() const {
    switch (c.by) {
      case NormalisedBy::own:
        return reference.own_statistics(x);
      case NormalisedBy::given:
        return statistics<long double>(given);
      default:
        return statistics<long double>(reference.setting, call_.running_mean.values(),
                                       call_.running_var.values());
    }
  }

  void check_forward(const std::vector<Stats<long double>>& rows) {
    Array in = array(x);
    Array out = c.in_place ? array(x) : Array(c.dtype, shape(), c.pattern);
    const std::vector<double> old_mean = call_.running_mean.values(),
                              old_var = call_.running_var.values();
    instance_norm(c.in_place ? out.view() : in.view(), out.view(), options());
    EXPECT_TRUE(all_within(c.dtype, from_layout(c, out.values()), reference.y(x, rows),
                           forward_bound(c.dtype)))
        << "y";
    EXPECT_TRUE(out.surroundings_untouched());

    std::vector<long double> count, mean, m2;
    for (const auto& row : rows) {
      count.push_back(row.count);
      mean.push_back(row.mean);
      m2.push_back(row.m2);
    }
    const auto std_of = [&](std::size_t i) {
      return rows[i].count > 0 ? std::sqrt(static_cast<double>(rows[i].variance())) : 0.0;
    };
    EXPECT_TRUE(all_within(DType::float64, saved.count, count, Bound{})) << "count";
    EXPECT_TRUE(all_within(DType::float64, saved.mean, mean, [&](std::size_t i) {
      return mean_bound(c.dtype, std_of(i));
    })) << "mean";
    EXPECT_TRUE(all_within(DType::float64, saved.m2, m2, m2_bound(c.dtype))) << "m2";

    const Running<long double> running =
        c.by == NormalisedBy::running ? Running<long double>{{old_mean.begin(), old_mean.end()},
                                                             {old_var.begin(), old_var.end()}}
                                      : running_update(reference.setting, rows, old_mean, old_var);
    const DType stored = call_.running_mean.dtype();
    EXPECT_TRUE(all_within(stored, call_.running_mean.values(), running.mean,
                           running_mean_bound(c.dtype, 0.1, 2.0)))
        << "running_mean";
    EXPECT_TRUE(all_within(stored, call_.running_var.values(), running.var,
                           running_var_bound(c.dtype, 0.1, 4.0)))
        << "running_var";
    // Leaves them as the backward and the next forward expect them.
    call_.running_mean.set(old_mean);
    call_.running_var.set(old_var);
  }

  void check_backward(const std::vector<Stats<long double>>& rows) {
    const DType parameters = wide_parameters(c.dtype);
    Array in = array(x), grad = array(g);
    Array dx = c.in_place ? array(g) : Array(c.dtype, shape(), c.pattern);
    const Dims of_parameter = c.parameters == Given::per_instance ? Dims{c.N, c.C} : Dims{c.C};
    Array dw(parameters, of_parameter), db(parameters, of_parameter);
    instance_norm_backward(
        in.view(), c.in_place ? dx.view() : grad.view(), saved,
        {.grad_input = dx.view(), .grad_weight = dw.view(), .grad_bias = db.view()},
        backward_options());
    const auto wanted = reference.gradients(x, g, rows);
    const auto of_all = [&](const std::vector<long double>& of_rows) {
      return c.parameters == Given::per_instance ? of_rows
                                                 : over_instances(reference.setting, of_rows);
    };
    const auto parameter_bound = [&](const std::vector<long double>& of_rows) {
      return [this, sizes = of_all(of_rows)](std::size_t i) {
        return gradient_bound(c.dtype, static_cast<double>(sizes[i]));
      };
    };
    EXPECT_TRUE(all_within(c.dtype, from_layout(c, dx.values()), wanted.input,
                           gradient_bound(c.dtype, wanted.largest_term)))
        << "grad_input";
    EXPECT_TRUE(all_within(parameters, dw.values(), of_all(wanted.weight),
                           parameter_bound(wanted.size_of_weight)))
        << "grad_weight";
    EXPECT_TRUE(
        all_within(parameters, db.values(), of_all(wanted.bias), parameter_bound(wanted.size)))
        << "grad_bias";
    EXPECT_TRUE(dx.surroundings_untouched());
  }

  Call call_;
};

}  // namespace instnorm::test
