// error_table [FOLDER]: the largest errors of each named case and dtype, and of the extras, as
// Markdown tables in units of the contract. With FOLDER, each case's input is written there as
// NAME.f32 (raw float32, (2, 3, L)) with an index, cases.txt, of lines
// "file<TAB>L<TAB>eps<TAB>case", for tests/python/error_table.py.
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

#include "calls.h"
#include "extras_calls.h"

namespace instnorm::test {
namespace {

constexpr std::int64_t kN = 2, kC = 3;

// The largest of |got - reference| / (1 + |reference|), where the reference has a value of the
// format.
template <class Real>
double forward_error(DType dtype, const std::vector<double>& got, const std::vector<Real>& wanted) {
  double worst = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto reference = static_cast<long double>(wanted[i]);
    if (std::fabs(reference) > static_cast<long double>(largest(dtype))) continue;
    const Real error = Real(got[i]) - wanted[i];
    worst = std::max(worst, std::fabs(static_cast<double>(error)) /
                                (1.0 + std::fabs(static_cast<double>(reference))));
  }
  return worst;
}

// The largest error in units of the largest reference element.
template <class Real>
double gradient_error(DType dtype, const std::vector<double>& got,
                      const std::vector<Real>& wanted) {
  const double size = largest_of(wanted);
  if (size == 0.0 || size > largest(dtype)) return std::nan("");
  double worst = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    worst = std::max(worst, std::fabs(static_cast<double>(Real(got[i]) - wanted[i])) / size);
  }
  return worst;
}

template <class Real>
void print_row(DType dtype, const RowCase& c) {
  Call call(dtype, {kN, kC, c.L}, rows_of(c, dtype, kN * kC));
  call.setting.eps = c.eps;
  instance_norm(call.x.view(), call.y.view(), call.options());
  const std::vector<double> x = call.x.values();
  const double forward_worst = forward_error(
      dtype, call.y.values(), forward(call.setting, x, statistics<Real>(call.setting, x)));

  Random random(11);
  Array g(dtype, {kN, kC, c.L}, normal_values(random, kN * kC * c.L, 0.5, 1.0));
  Array dx(dtype, {kN, kC, c.L}), dw(wide_parameters(dtype), {kC});
  instance_norm_backward(call.x.view(), g.view(), call.saved,
                         {.grad_input = dx.view(), .grad_weight = dw.view()}, {.eps = c.eps});
  const auto reference = backward(call.setting, x, g.values(), statistics<Real>(call.saved));
  const auto cell = [](double error) {
    char text[32] = "-";  // the reference is 0, or beyond the format
    if (!std::isnan(error)) (void)std::snprintf(text, sizeof text, "%.1e", error);
    return std::string(text);
  };
  const double dx_worst = gradient_error(dtype, dx.values(), reference.input);
  const double dw_worst = gradient_error(wide_parameters(dtype), dw.values(),
                                         over_instances(call.setting, reference.weight));
  std::printf("| %s | %s | %s | %s | %s |\n", c.name, name(dtype), cell(forward_worst).c_str(),
              cell(dx_worst).c_str(), cell(dw_worst).c_str());
}

void print_table() {
  std::printf("| case | dtype | y | grad_input | grad_weight |\n|---|---|---|---|---|\n");
  for (const RowCase& c : row_cases()) {
    for (const DType dtype : kFloats) {
      if (!holds(dtype, c)) continue;
      with_real(dtype, [&](auto zero) { print_row<decltype(zero)>(dtype, c); });
    }
  }
}

struct ExtrasLine {
  const char* name;
  double mean;
  int of_ten;  // values that are there
  bool omit;   // the others are NaN; else a mask says so
  Activation activation;
};

constexpr ExtrasLine kExtrasLines[] = {
    {"N(1e6, 1), half of it masked", 1e6, 5, false, Activation::none},
    {"N(1e6, 1), a tenth of it NaN, omit", 1e6, 9, true, Activation::none},
    {"N(0, 1), relu", 0.0, 10, false, Activation::relu},
    {"N(0, 1), leaky_relu", 0.0, 10, false, Activation::leaky_relu},
    {"N(0, 1), gelu", 0.0, 10, false, Activation::gelu},
    {"N(0, 1), gelu_tanh", 0.0, 10, false, Activation::gelu_tanh},
    {"N(0, 1), silu", 0.0, 10, false, Activation::silu}};

void print_extras_row(DType dtype, const ExtrasLine& line) {
  constexpr std::int64_t kL = 4096;
  const Dims shape{kN, kC, kL};
  Random random(17);
  std::vector<double> x = normal_values(random, shape.product(), line.mean, 1.0);
  std::vector<double> g = normal_values(random, shape.product(), 0.5, 1.0), mask(x.size());
  quantize(dtype, x);
  quantize(dtype, g);
  Extras reference;
  reference.setting.N = kN;
  reference.setting.C = kC;
  reference.setting.L = kL;
  reference.omit = line.omit;
  reference.activation = line.activation;
  reference.valid.assign(x.size(), 1);
  for (std::size_t i = 0; i < x.size(); ++i) {
    mask[i] = random.integer(0, 9) < line.of_ten;
    if (mask[i] == 0.0 && line.omit) x[i] = kNaN;
    if (!line.omit) reference.valid[i] = static_cast<char>(mask[i] != 0.0);
  }
  const Mask of_call(shape, mask);
  Array in(dtype, shape, x), grad(dtype, shape, g), y(dtype, shape), dx(dtype, shape);
  Moments saved;
  Options o{.activation = line.activation, .save_moments = &saved};
  BackwardOptions back{.activation = line.activation};
  if (line.omit) {
    o.nan_policy = back.nan_policy = NanPolicy::omit;
  } else {
    o.mask = back.mask = of_call.view();
  }
  instance_norm(in.view(), y.view(), o);
  instance_norm_backward(in.view(), grad.view(), saved, {.grad_input = dx.view()}, back);
  const auto rows = reference.own_statistics(x);
  std::vector<double> got = y.values();
  std::vector<long double> wanted = reference.y(x, rows);
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(x[i])) got[i] = static_cast<double>(wanted[i] = 0);
  }
  std::printf("| %s | %s | %.1e | %.1e |\n", line.name, name(dtype),
              forward_error(dtype, got, wanted),
              gradient_error(dtype, dx.values(),
                             reference.gradients(x, g, statistics<long double>(saved)).input));
}

void print_extras_table() {
  std::printf("\n| extras, L = 4096 | dtype | y | grad_input |\n|---|---|---|---|\n");
  for (const ExtrasLine& line : kExtrasLines) {
    for (const DType dtype : kFloats) {
      // The reference is in long double, which is too little for float64 at a large mean.
      const bool judged = dtype != DType::float64 || line.mean == 0.0;
      if (judged && line.mean < largest(dtype)) print_extras_row(dtype, line);
    }
  }
}

void write_inputs(const std::string& folder) {
  std::ofstream index(folder + "/cases.txt");
  index.exceptions(std::ios::failbit | std::ios::badbit);
  for (std::size_t i = 0; i < row_cases().size(); ++i) {
    const RowCase& c = row_cases()[i];
    const std::string name = "case" + std::to_string(i) + ".f32";
    const std::vector<double> x = rows_of(c, DType::float32, kN * kC);
    const std::vector<float> values(x.begin(), x.end());
    std::ofstream file(folder + "/" + name, std::ios::binary);
    file.exceptions(std::ios::failbit | std::ios::badbit);
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(float)));
    index << name << '\t' << c.L << '\t' << c.eps << '\t' << c.name << '\n';
  }
}

}  // namespace
}  // namespace instnorm::test

int main(int argc, char** argv) {
  try {
    std::printf("Instruction set: %s\n\n", instnorm::cpu_target());
    instnorm::test::print_table();
    instnorm::test::print_extras_table();
    if (argc > 1) instnorm::test::write_inputs(argv[1]);
  } catch (const std::exception& e) {
    (void)std::fprintf(stderr, "error_table: %s\n", e.what());
    return 1;
  }
}
