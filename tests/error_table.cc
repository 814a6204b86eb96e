// error_table [FOLDER]: the largest errors of each named case and dtype, as a Markdown table in
// units of the contract. With FOLDER, each case's input is written there as NAME.f32 (raw float32,
// (2, 3, L)) with an index, cases.txt, of lines "file<TAB>L<TAB>eps<TAB>case", for
// tests/python/error_table.py.
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
    if (!std::isnan(error)) std::snprintf(text, sizeof text, "%.1e", error);
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
    if (argc > 1) instnorm::test::write_inputs(argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error_table: %s\n", e.what());
    return 1;
  }
}
