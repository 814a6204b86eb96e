// Calls of every function on arrays, of every kind, whose arguments can be replaced one by one, and
// the memory that they would write.
#pragma once

#include <instnorm/functional.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dtype.h"
#include "hostile.h"

namespace instnorm::test {

enum class Present { all, lengths32, lengths64, mask, mask_of_channels };
enum class By { own, running, given };

// What a call is like before one of its arguments is spoilt.
struct Base {
  DType dtype;
  DataFormat format;
  Dims shape;
  std::int64_t N, C, L;
  Present present;
  By by;
  bool per_instance;

  bool has_lengths() const {
    return present == Present::lengths32 || present == Present::lengths64;
  }
  bool has_mask() const { return present == Present::mask || present == Present::mask_of_channels; }
  DType parameter() const { return size_of(dtype) == 2 ? DType::float32 : dtype; }
  Dims parameter_shape() const { return per_instance ? Dims{N, C} : Dims{C}; }
  // As functional.h has them.
  std::vector<Dims> mask_shapes() const {
    const auto with_channels = [&](int count, std::int64_t channels) {
      const bool last = format == DataFormat::NLC;
      std::vector<std::int64_t> extents = {N};
      if (!last) extents.insert(extents.end(), static_cast<std::size_t>(count), channels);
      for (int i = 0; i < shape.rank(); ++i) {
        const int of_n = shape.rank() > 2 ? 0 : -1;
        if (i != of_n && i != (last ? shape.rank() - 1 : of_n + 1)) extents.push_back(shape[i]);
      }
      if (last) extents.insert(extents.end(), static_cast<std::size_t>(count), channels);
      return Dims(extents.data(), extents.size());
    };
    std::vector<Dims> shapes = {with_channels(0, 0), with_channels(1, 1), with_channels(1, C)};
    if (shape.rank() == 2) shapes.push_back(shape);
    return shapes;
  }
  std::string str() const {
    return std::string(name(dtype)) + " " + shape.str() +
           (format == DataFormat::NLC ? " NLC" : "") + ", present " +
           std::to_string(static_cast<int>(present)) + ", by " +
           std::to_string(static_cast<int>(by)) + (per_instance ? ", per instance" : "");
  }
};

inline std::vector<Base> bases(bool with_by) {
  struct Layout {
    DataFormat format = DataFormat::NCL;
    Dims shape;
    std::int64_t N = 0, C = 0, L = 0;
  };
  const Layout layouts[] = {{DataFormat::NCL, {3, 8}, 1, 3, 8},
                            {DataFormat::NCL, {2, 3, 8}, 2, 3, 8},
                            {DataFormat::NLC, {2, 8, 3}, 2, 3, 8},
                            {DataFormat::NCL, {2, 3, 2, 4}, 2, 3, 8},
                            {DataFormat::NCL, {0, 3, 8}, 0, 3, 8}};
  std::vector<Base> all;
  for (const DType dtype : {DType::bfloat16, DType::float32, DType::float64}) {
    for (const Layout& of : layouts) {
      for (const Present present : {Present::all, Present::lengths32, Present::lengths64,
                                    Present::mask, Present::mask_of_channels}) {
        for (const By by : {By::own, By::running, By::given}) {
          for (const bool per_instance : {false, true}) {
            const Base base{dtype, of.format, of.shape, of.N,        of.C,
                            of.L,  present,   by,       per_instance};
            if (base.has_lengths() && of.shape.rank() > 3) continue;
            if (with_by || by == By::own) all.push_back(base);
          }
        }
      }
    }
  }
  return all;
}

// One block of memory, in which each argument has a piece far larger than its view, filled with its
// values from end to end: whatever a call reads or writes by mistake is seen, and nothing breaks.
class Memory {
 public:
  View add(const std::string& name, DType dtype, const Dims& shape, double value) {
    const std::size_t at = place(name);
    std::byte* data = bytes_.data() + at;
    const auto size = static_cast<std::size_t>(size_of(dtype));
    for (std::size_t i = 0; i < kPiece; i += size) put(data + i, dtype, value, i / size);
    names_.push_back(name);
    return instnorm::view(static_cast<void*>(data + kPiece / 2), dtype, shape);
  }
  void remember() { before_ = bytes_; }
  void restore() { bytes_ = before_; }
  // The arguments whose bytes are not as they were.
  std::vector<std::string> changed() const {
    std::vector<std::string> result;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (std::memcmp(&bytes_[i * kPiece], &before_[i * kPiece], kPiece) != 0) {
        result.push_back(names_[i]);
      }
    }
    return result;
  }
  void refill(const std::string& name, DType dtype, double value) {
    std::byte* data = bytes_.data() + place(name);
    for (std::size_t i = 0; i < kPiece; i += static_cast<std::size_t>(size_of(dtype))) {
      put(data + i, dtype, value, 0);
    }
  }

 private:
  static constexpr std::size_t kPiece = 2048, kPieces = 12;

  std::size_t place(const std::string& name) const {
    return static_cast<std::size_t>(std::ranges::find(names_, name) - names_.begin()) * kPiece;
  }
  static void put(std::byte* to, DType dtype, double value, std::size_t i) {
    if (is_float(dtype)) {
      store_double(to, dtype, value + static_cast<double>(i % 5));
    } else if (dtype == DType::boolean) {
      *to = std::byte{value != 0};
    } else if (dtype == DType::int32) {
      const auto v = static_cast<std::int32_t>(value);
      std::memcpy(to, &v, sizeof v);
    } else {
      const auto v = value >= 0x1p63 ? kMost : static_cast<std::int64_t>(value);
      std::memcpy(to, &v, sizeof v);
    }
  }

  std::vector<std::byte> bytes_ = std::vector<std::byte>(kPiece * kPieces), before_;
  std::vector<std::string> names_;
};

// Numbers and enumerations by name; hostile ones fit no member of the enumeration.
struct Scalars {
  std::map<std::string, double> numbers = {{"momentum", 0.1}, {"eps", 1e-5}, {"weight_offset", 0}};
  std::map<std::string, int> enums;
};

class World {
 public:
  explicit World(const Base& of) : base(of) {
    scalars.enums = {{"nan_policy", static_cast<int>(NanPolicy::propagate)},
                     {"data_format", static_cast<int>(of.format)},
                     {"activation", static_cast<int>(Activation::none)}};
    given = Moments::empty(of.N, of.C);
    for (double& count : given.count) count = 8;
    for (double& m2 : given.m2) m2 = 4;
    saved = Moments::empty(1, 1);
    // A view in their memory ends there too.
    for (Moments* m : {&given, &saved}) {
      for (auto* v : {&m->count, &m->mean, &m->m2}) v->reserve(512);
    }
  }

  void add(const std::string& name, DType dtype, const Dims& shape, double value) {
    views[name] = memory.add(name, dtype, shape, value);
  }
  void add_operand(const std::string& name) { add(name, base.dtype, base.shape, 1); }
  void add_parameter(const std::string& name) {
    add(name, base.parameter(), base.parameter_shape(), 1);
  }
  void add_presence(bool lengths_only = false) {
    if (base.has_lengths()) {
      add("lengths", base.present == Present::lengths32 ? DType::int32 : DType::int64, {base.N},
          0);  // which it is of either type, at any address
    } else if (base.has_mask() && !lengths_only) {
      const std::vector<Dims> shapes = base.mask_shapes();
      add("mask", DType::boolean, shapes[base.present == Present::mask ? 0 : 2], 1);
    }
  }

  // What a call takes by name; what it took is known.
  View view(const std::string& name) {
    taken.insert(name);
    const auto found = views.find(name);
    return found == views.end() ? View{} : found->second;
  }
  double number(const std::string& name) {
    taken.insert(name);
    return scalars.numbers.at(name);
  }
  template <class E>
  E option(const std::string& name) {
    taken.insert(name);
    return static_cast<E>(scalars.enums.at(name));
  }

  Base base;
  Memory memory;
  std::map<std::string, View> views;
  Scalars scalars;
  Moments given, saved;
  std::set<std::string> taken;
};

// The structured bindings have all members: a new one does not compile before it is in the table.
inline void forward(World& w, bool explained) {
  Options o;
  auto& [weight, bias, running_mean, running_var, use_input_stats, momentum, eps, lengths, mask,
         nan_policy, data_format, weight_offset, activation, moments, save_moments] = o;
  weight = w.view("weight");
  bias = w.view("bias");
  running_mean = w.view("running_mean");
  running_var = w.view("running_var");
  use_input_stats = w.base.by != By::running;
  momentum = w.number("momentum");
  eps = w.number("eps");
  lengths = w.view("lengths");
  mask = w.view("mask");
  nan_policy = w.option<NanPolicy>("nan_policy");
  data_format = w.option<DataFormat>("data_format");
  weight_offset = w.number("weight_offset");
  activation = w.option<Activation>("activation");
  moments = w.base.by == By::given ? &w.given : nullptr;
  save_moments = &w.saved;
  if (explained) {
    explain(w.view("x"), w.view("y"), o);
  } else {
    instance_norm(w.view("x"), w.view("y"), o);
  }
}

inline void backward(World& w) {
  Gradients wanted;
  auto& [grad_input, grad_weight, grad_bias] = wanted;
  grad_input = w.view("grad_input");
  grad_weight = w.view("grad_weight");
  grad_bias = w.view("grad_bias");
  BackwardOptions o;
  auto& [weight, bias, eps, use_input_stats, lengths, mask, nan_policy, data_format, weight_offset,
         activation] = o;
  weight = w.view("weight");
  bias = w.view("bias");
  eps = w.number("eps");
  use_input_stats = w.base.by == By::own;
  lengths = w.view("lengths");
  mask = w.view("mask");
  nan_policy = w.option<NanPolicy>("nan_policy");
  data_format = w.option<DataFormat>("data_format");
  weight_offset = w.number("weight_offset");
  activation = w.option<Activation>("activation");
  instance_norm_backward(w.view("x"), w.view("grad_output"), w.given, wanted, o);
}

inline void double_backward(World& w) {
  GradientsOfGradients given;
  auto& [grad_input, grad_weight, grad_bias] = given;
  grad_input = w.view("that to grad_input");
  grad_weight = w.view("that to grad_weight");
  grad_bias = w.view("that to grad_bias");
  SecondGradients wanted;
  auto& [of_x, of_weight, of_grad_output] = wanted;
  of_x = w.view("gradient of x");
  of_weight = w.view("gradient of weight");
  of_grad_output = w.view("gradient of grad_output");
  DoubleBackwardOptions o;
  auto& [weight, eps, use_input_stats, lengths, data_format, weight_offset] = o;
  weight = w.view("weight");
  eps = w.number("eps");
  use_input_stats = w.base.by == By::own;
  lengths = w.view("lengths");
  data_format = w.option<DataFormat>("data_format");
  weight_offset = w.number("weight_offset");
  instance_norm_double_backward(w.view("x"), w.view("grad_output"), w.given, given, wanted, o);
}

inline void take_moments(World& w) {
  MomentsOptions o;
  auto& [lengths, mask, nan_policy, data_format] = o;
  lengths = w.view("lengths");
  mask = w.view("mask");
  nan_policy = w.option<NanPolicy>("nan_policy");
  data_format = w.option<DataFormat>("data_format");
  moments(w.view("x"), o);
}

inline void invert(World& w) {
  DenormalizeOptions o;
  auto& [weight, bias, eps, weight_offset, data_format] = o;
  weight = w.view("weight");
  bias = w.view("bias");
  eps = w.number("eps");
  weight_offset = w.number("weight_offset");
  data_format = w.option<DataFormat>("data_format");
  denormalize(w.view("y"), w.given, w.view("x"), o);
}

struct Function {
  std::string name{}, op{};
  std::set<std::string> operands{}, parameters{}, written{}, optional{};
  bool running = false, mask = false, takes_moments = false, saves = false, with_by = false;
  std::set<std::pair<std::string, std::string>> in_place{};
  std::function<void(World&)> call{};
};

inline const std::set<std::string> kRunning = {"running_mean", "running_var"};
inline const std::set<std::string> kPresence = {"lengths", "mask"};

inline std::vector<Function> functions() {
  const Function normalise{.name = "instance_norm",
                           .op = "instance_norm",
                           .operands = {"x", "y"},
                           .parameters = {"weight", "bias"},
                           .written = {"y"},
                           .optional = {"weight", "bias", "lengths", "mask"},
                           .running = true,
                           .mask = true,
                           .takes_moments = true,
                           .saves = true,
                           .with_by = true,
                           .in_place = {{"y", "x"}},
                           .call = [](World& w) { forward(w, false); }};
  Function explained = normalise;
  explained.name = "explain";
  explained.call = [](World& w) { forward(w, true); };
  return {
      normalise,
      explained,
      {.name = "instance_norm_backward",
       .op = "instance_norm_backward",
       .operands = {"x", "grad_output", "grad_input"},
       .parameters = {"weight", "bias", "grad_weight", "grad_bias"},
       .written = {"grad_input", "grad_weight", "grad_bias"},
       .optional = {"weight", "bias", "lengths", "mask", "grad_input", "grad_weight", "grad_bias"},
       .mask = true,
       .takes_moments = true,
       .in_place = {{"grad_input", "x"}, {"grad_input", "grad_output"}},
       .call = backward},
      {.name = "instance_norm_double_backward",
       .op = "instance_norm_double_backward",
       .operands = {"x", "grad_output", "that to grad_input", "gradient of x",
                    "gradient of grad_output"},
       .parameters = {"weight", "that to grad_weight", "that to grad_bias", "gradient of weight"},
       .written = {"gradient of x", "gradient of grad_output", "gradient of weight"},
       .optional = {"weight", "lengths", "that to grad_input", "that to grad_weight",
                    "that to grad_bias", "gradient of x", "gradient of grad_output",
                    "gradient of weight"},
       .takes_moments = true,
       .call = double_backward},
      {.name = "moments",
       .op = "moments",
       .operands = {"x"},
       .optional = {"lengths", "mask"},
       .mask = true,
       .call = take_moments},
      {.name = "denormalize",
       .op = "denormalize",
       .operands = {"x", "y"},
       .parameters = {"weight", "bias"},
       .written = {"x"},
       .optional = {"weight", "bias"},
       .takes_moments = true,
       .in_place = {{"x", "y"}},
       .call = invert},
  };
}

inline World world_of(const Function& f, const Base& base) {
  World w(base);
  for (const std::string& name : f.operands) w.add_operand(name);
  for (const std::string& name : f.parameters) w.add_parameter(name);
  if (f.running) {
    for (const std::string& name : kRunning) w.add(name, base.parameter(), {base.C}, 1);
  }
  if (f.optional.contains("lengths")) w.add_presence(!f.mask);
  w.memory.remember();
  return w;
}

}  // namespace instnorm::test
