// Every argument of every function, by every hostile value, in every kind of call: an error that
// names the argument, and not a byte written. The calls are generated; what is allowed stands in
// kAllowed. errors_test.cc has the messages to the letter, for some of them.
#include "hostile.h"

#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dtype.h"

namespace instnorm::test {
namespace {

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

std::vector<Base> bases(bool with_by) {
  struct Layout {
    DataFormat format;
    Dims shape;
    std::int64_t N, C, L;
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
void forward(World& w, bool explained) {
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

void backward(World& w) {
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

void double_backward(World& w) {
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

void take_moments(World& w) {
  MomentsOptions o;
  auto& [lengths, mask, nan_policy, data_format] = o;
  lengths = w.view("lengths");
  mask = w.view("mask");
  nan_policy = w.option<NanPolicy>("nan_policy");
  data_format = w.option<DataFormat>("data_format");
  moments(w.view("x"), o);
}

void invert(World& w) {
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
  std::string name, op;
  std::set<std::string> operands, parameters, written, optional;
  bool running, mask, takes_moments, saves, with_by;
  std::set<std::pair<std::string, std::string>> in_place;
  std::function<void(World&)> call;
};

const std::set<std::string> kRunning = {"running_mean", "running_var"};
const std::set<std::string> kPresence = {"lengths", "mask"};

const std::vector<Function>& functions() {
  static const std::vector<Function> kFunctions = {
      {"instance_norm",
       "instance_norm",
       {"x", "y"},
       {"weight", "bias"},
       {"y"},
       {"weight", "bias", "lengths", "mask"},
       true,
       true,
       true,
       true,
       true,
       {{"y", "x"}},
       [](World& w) { forward(w, false); }},
      {"explain",
       "instance_norm",
       {"x", "y"},
       {"weight", "bias"},
       {"y"},
       {"weight", "bias", "lengths", "mask"},
       true,
       true,
       true,
       true,
       true,
       {{"y", "x"}},
       [](World& w) { forward(w, true); }},
      {"instance_norm_backward",
       "instance_norm_backward",
       {"x", "grad_output", "grad_input"},
       {"weight", "bias", "grad_weight", "grad_bias"},
       {"grad_input", "grad_weight", "grad_bias"},
       {"weight", "bias", "lengths", "mask", "grad_input", "grad_weight", "grad_bias"},
       false,
       true,
       true,
       false,
       false,
       {{"grad_input", "x"}, {"grad_input", "grad_output"}},
       backward},
      {"instance_norm_double_backward",
       "instance_norm_double_backward",
       {"x", "grad_output", "that to grad_input", "gradient of x", "gradient of grad_output"},
       {"weight", "that to grad_weight", "that to grad_bias", "gradient of weight"},
       {"gradient of x", "gradient of grad_output", "gradient of weight"},
       {"weight", "lengths", "that to grad_input", "that to grad_weight", "that to grad_bias",
        "gradient of x", "gradient of grad_output", "gradient of weight"},
       false,
       false,
       true,
       false,
       false,
       {},
       double_backward},
      {"moments",
       "moments",
       {"x"},
       {},
       {},
       {"lengths", "mask"},
       false,
       true,
       false,
       false,
       false,
       {},
       take_moments},
      {"denormalize",
       "denormalize",
       {"x", "y"},
       {"weight", "bias"},
       {"x"},
       {"weight", "bias"},
       false,
       false,
       true,
       false,
       false,
       {{"x", "y"}},
       invert},
  };
  return kFunctions;
}

World world_of(const Function& f, const Base& base) {
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

// One call of the table.
struct Case {
  const Function& f;
  const Base& base;
  std::string argument, value, other;  // other: the one that it overlaps
  What what;
  View view{};
  bool empty = false;  // of the legal view, or the other one

  bool written() const {
    return f.written.contains(argument) || (kRunning.contains(argument) && base.by != By::running);
  }
  bool has_gradients() const { return f.name.ends_with("backward"); }
};

bool documented_shape(const Case& c) {
  const Base& b = c.base;
  const Dims& shape = c.view.shape;
  if (c.argument == "mask") return std::ranges::count(b.mask_shapes(), shape) > 0;
  if (!c.f.parameters.contains(c.argument)) return false;
  // A gradient has its parameter's shape, and the double backward is given no bias.
  if (c.has_gradients() && c.argument != "that to grad_bias") return shape == b.parameter_shape();
  return shape == Dims{b.C} || shape == Dims{b.N, b.C};
}

bool documented_dtype(const Case& c) {
  const DType dtype = c.view.dtype;
  if (c.argument == "lengths") return dtype == DType::int32 || dtype == DType::int64;
  if (c.argument == "mask") return false;
  if (c.f.operands.contains(c.argument)) return c.f.name == "moments" && is_float(dtype);
  return dtype == c.base.dtype || (dtype == DType::float32 && size_of(c.base.dtype) == 2);
}

struct Allowed {
  const char* reason;
  bool (*holds)(const Case&);
  bool perhaps = false;  // the rest of the call decides
};

const Allowed kAllowed[] = {
    {"it has a default",
     [](const Case& c) {
       // That of a weight is (C,), and its gradient has its shape.
       const bool unlike_gradient =
           c.argument == "weight" && c.has_gradients() && c.base.per_instance;
       return c.what == What::absent && c.f.optional.contains(c.argument) && !unlike_gradient;
     }},
    {"a shape that functional.h names",
     [](const Case& c) { return c.what == What::shape && documented_shape(c); }},
    {"a dtype that functional.h names",
     [](const Case& c) { return c.what == What::dtype && documented_dtype(c); }},
    {"what is only read may be read twice",
     [](const Case& c) { return c.what == What::repeats && !c.written(); }},
    {"elements may lie in any order, at any address",
     [](const Case& c) { return c.what == What::unusual; }},
    {"in place",
     [](const Case& c) {
       return c.what == What::overlap && c.value == "at" &&
              c.f.in_place.contains({c.argument, c.other});
     }},
    {"without elements there is nothing to reach, to meet or to be wrong",
     [](const Case& c) {
       return c.empty && c.what != What::absent && c.what != What::shape && c.what != What::dtype &&
              c.what != What::impossible;
     }},
    {"the only argument that says how many there are",
     [](const Case& c) {
       return c.what == What::shape && c.f.name == "moments" && c.argument == "x" &&
              c.view.shape.rank() >= 2 && c.base.present == Present::all;
     }},
    {"the same, but for lengths and mask",
     [](const Case& c) {
       return c.what == What::shape && c.f.name == "moments" && c.argument == "x";
     },
     true},
    {"any number, as in PyTorch: the results are what IEEE makes of it",
     [](const Case& c) {
       return c.what == What::value &&
              (c.argument == "eps" || c.argument == "momentum" || c.argument == "weight_offset");
     }},
    {"statistics may be any numbers: the same",
     [](const Case& c) { return c.what == What::value && c.argument == "moments"; }},
    {"they are overwritten, whatever they were",
     [](const Case& c) { return c.what == What::value && c.argument == "save_moments"; }},
};

const Allowed* allowed(const Case& c) {
  for (const Allowed& a : kAllowed) {
    if (a.holds(c)) return &a;
  }
  return nullptr;
}

bool same(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 8) == 0);
}
bool same(const Moments& a, const Moments& b) {
  return a.N == b.N && a.C == b.C && same(a.count, b.count) && same(a.mean, b.mean) &&
         same(a.m2, b.m2);
}

struct Tally {
  long refused = 0, allowed = 0, faults = 0;
  std::map<const char*, long> reasons;
};

// Makes the call, and says what is wrong with what became of it.
std::string fault_of_call(const Case& c, World& w, Tally& tally) {
  const Allowed* reason = allowed(c);
  const Moments given = w.given, saved = w.saved;
  std::string message;
  bool threw = true;
  try {
    c.f.call(w);
    threw = false;
  } catch (const std::invalid_argument& e) {
    message = e.what();
  } catch (const std::exception& e) {
    return std::string("not std::invalid_argument: ") + e.what();
  }
  std::vector<std::string> changed = w.memory.changed();
  if (!same(w.given, given)) changed.push_back("moments");
  if (threw && !same(w.saved, saved)) changed.push_back("save_moments");
  w.memory.restore();
  w.saved = saved;
  if (!threw) {
    if (reason == nullptr) return "no error";
    ++tally.allowed;
    ++tally.reasons[reason->reason];
    for (const std::string& name : changed) {
      const bool moved = c.what == What::overlap && name == c.other;
      const bool running = kRunning.contains(name) && c.base.by != By::running;
      if (!c.f.written.contains(name) && !running && !moved) return "wrote to " + name;
    }
    return "";
  }
  ++tally.refused;
  if (reason != nullptr && !reason->perhaps) return "allowed, but " + message;
  if (!changed.empty()) return "refused, but wrote to " + changed.front();
  if (message.find("[" + c.f.op + "] ") != 0) return "of another function: " + message;
  // Of two that disagree either is named.
  const bool other = reason != nullptr && (names(message, "lengths") || names(message, "mask"));
  if (!names(message, c.argument) && !other) return "does not name it: " + message;
  if (message.find('\n') != std::string::npos || message.size() > 400) return "no line: " + message;
  return "";
}

void expect_no_fault(const Case& c, World& w, Tally& tally) {
  const std::string fault = fault_of_call(c, w, tally);
  if (fault.empty() || ++tally.faults > 40) return;
  ADD_FAILURE() << c.f.name << " of " << c.base.str() << ": " << c.argument << " " << c.value << " "
                << c.other << ": " << fault;
}

void spoil_views(const Function& f, World& w, Tally& tally) {
  const Base base = w.base;
  const std::map<std::string, View> legal = w.views;
  const auto call = [&](const Case& c) {
    w.views[c.argument] = c.view;
    expect_no_fault(c, w, tally);
    w.views[c.argument] = legal.at(c.argument);
  };
  for (const auto& [argument, view] : legal) {
    const bool empty = view.shape.product() == 0;
    std::vector<HostileView> values = hostile_views(view);
    if (f.parameters.contains(argument)) {
      const Dims other = base.per_instance ? Dims{base.C} : Dims{base.N, base.C};
      values.push_back({"the other shape",
                        What::shape,
                        {view.data, view.dtype, other, contiguous_strides(other)}});
    }
    for (const HostileView& value : values) {
      call({f, base, argument, value.name, "", value.what, value.view, empty});
    }
    for (const auto& [other, place] : legal) {
      if (other == argument) continue;
      const bool none = empty || place.shape.product() == 0;
      Case c{f, base, argument, "at", other, What::overlap, view, none};
      if (!c.written()) continue;
      c.view.data = place.data;
      // A gradient of a gradient that is not there is where it would be.
      call(c);
      c.value = "behind";
      // Less than an element of either.
      c.view.data = static_cast<std::byte*>(place.data) + 1;
      call(c);
    }
    if (f.takes_moments && (!f.with_by || base.by == By::given)) {
      for (const auto* v : {&w.given.count, &w.given.mean, &w.given.m2}) {
        Case c{f, base, argument, "at", "moments", What::overlap, view, empty || v->empty()};
        if (!c.written()) continue;
        c.view.data = const_cast<double*>(v->data());
        if (!c.empty) call(c);
      }
    }
    if (f.saves) {
      for (const auto* v : {&w.saved.count, &w.saved.mean, &w.saved.m2}) {
        Case c{f, base, argument, "at", "save_moments", What::overlap, view, empty};
        c.view.data = const_cast<double*>(v->data());
        // What a length there would be is refused before.
        if (!c.empty && argument != "lengths") call(c);
      }
    }
  }
}

void spoil_lengths(const Function& f, World& w, Tally& tally) {
  if (!w.views.contains("lengths")) return;
  const View view = w.views.at("lengths");
  const bool empty = view.shape.product() == 0;
  const auto refilled = [&](double value) {
    World other = world_of(f, w.base);
    other.memory.refill("lengths", view.dtype, value);
    other.memory.remember();
    expect_no_fault({f, w.base, "lengths", std::to_string(value), "", What::value, view, empty},
                    other, tally);
  };
  for (const double value : {-1.0, static_cast<double>(w.base.L + 1), -0x1p31}) refilled(value);
  if (view.dtype == DType::int64) {
    for (const double value : {0x1p32, 0x1p63, -0x1p63}) refilled(value);
  }
  if (!f.mask) return;
  World both = world_of(f, w.base);
  both.add("mask", DType::boolean, w.base.mask_shapes().front(), 1);
  both.memory.remember();
  expect_no_fault({f, w.base, "mask", "beside lengths", "", What::value}, both, tally);
}

void spoil_scalars(const Function& f, World& w, Tally& tally) {
  const Scalars legal = w.scalars;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (auto& [argument, number] : w.scalars.numbers) {
    if (!w.taken.contains(argument)) continue;
    for (const double value : {std::nan(""), kInfinity, -kInfinity, -1.0, 0.0, 2.0, 1e308, -1e308,
                               std::numeric_limits<double>::denorm_min()}) {
      number = value;
      expect_no_fault({f, w.base, argument, std::to_string(value), "", What::value}, w, tally);
      number = legal.numbers.at(argument);
    }
  }
  const std::map<std::string, int> last = {{"nan_policy", static_cast<int>(NanPolicy::raise)},
                                           {"data_format", static_cast<int>(DataFormat::NLC)},
                                           {"activation", static_cast<int>(Activation::silu)}};
  for (auto& [argument, option] : w.scalars.enums) {
    if (!w.taken.contains(argument)) continue;
    for (const int value : {last.at(argument) + 1, 100, 127, 128, 255}) {
      option = value;
      expect_no_fault({f, w.base, argument, std::to_string(value), "", What::value}, w, tally);
      option = legal.enums.at(argument);
    }
  }
}

struct HostileMoments {
  std::string name;
  What what;
  Moments m;
};

std::vector<HostileMoments> hostile_moments(const Moments& m) {
  std::vector<HostileMoments> all;
  const auto add = [&](const std::string& name, What what, const auto& change) {
    Moments changed = m;
    change(changed);
    all.push_back({name, what, changed});
  };
  for (std::int64_t Moments::* extent : {&Moments::N, &Moments::C}) {
    for (const std::int64_t value :
         {m.*extent + 1, m.*extent - 1, std::int64_t{-1}, kHuge, kMost, kLeast}) {
      add("extent " + std::to_string(value), What::impossible,
          [&](Moments& to) { to.*extent = value; });
    }
  }
  add("the other way round", What::impossible, [](Moments& to) { std::swap(to.N, to.C); });
  add("of 2^64 rows", What::impossible, [](Moments& to) { to.N = to.C = std::int64_t{1} << 32; });
  for (std::vector<double> Moments::* vector : {&Moments::count, &Moments::mean, &Moments::m2}) {
    add("one more", What::impossible, [&](Moments& to) { (to.*vector).push_back(1); });
    if (!m.count.empty()) {
      add("one less", What::impossible, [&](Moments& to) { (to.*vector).pop_back(); });
      add("none", What::impossible, [&](Moments& to) { (to.*vector).clear(); });
    }
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    for (const double value : {std::nan(""), kInfinity, -kInfinity, -1.0, 0.5, 1e308}) {
      add(std::to_string(value), What::value,
          [&](Moments& to) { std::ranges::fill(to.*vector, value); });
    }
  }
  return all;
}

void spoil_moments(const Function& f, World& w, Tally& tally) {
  if (f.takes_moments && (!f.with_by || w.base.by == By::given)) {
    const Moments legal = w.given;
    for (const HostileMoments& value : hostile_moments(legal)) {
      w.given = value.m;
      expect_no_fault({f, w.base, "moments", value.name, "", value.what}, w, tally);
    }
    w.given = legal;
  }
  if (!f.saves) return;
  const Moments legal = w.saved;
  for (const HostileMoments& value : hostile_moments(Moments::empty(w.base.N, w.base.C))) {
    w.saved = value.m;
    expect_no_fault({f, w.base, "save_moments", value.name, "", What::value}, w, tally);
  }
  w.saved = legal;
}

TEST(Hostile, EveryArgumentOfEveryFunctionByEveryValue) {
  Tally tally;
  for (const Function& f : functions()) {
    for (const Base& base : bases(f.with_by)) {
      World w = world_of(f, base);
      const Moments saved = w.saved;
      ASSERT_NO_THROW(f.call(w)) << f.name << " of " << base.str();
      // Whatever a function takes is spoilt below.
      for (const auto& [name, view] : w.views) ASSERT_TRUE(w.taken.contains(name)) << name;
      for (const std::string& name : w.taken) {
        ASSERT_TRUE(w.views.contains(name) || w.scalars.numbers.contains(name) ||
                    w.scalars.enums.contains(name) || kPresence.contains(name))
            << name;
      }
      w.memory.restore();
      w.saved = saved;
      spoil_views(f, w, tally);
      spoil_lengths(f, w, tally);
      spoil_scalars(f, w, tally);
      spoil_moments(f, w, tally);
    }
  }
  EXPECT_EQ(tally.faults, 0);
  for (const Allowed& a : kAllowed) EXPECT_GT(tally.reasons[a.reason], 0) << a.reason;
  std::printf("%ld calls refused, %ld allowed\n", tally.refused, tally.allowed);
  EXPECT_GT(tally.refused, 100'000);
  EXPECT_GT(tally.allowed, 20'000);
}

}  // namespace
}  // namespace instnorm::test
