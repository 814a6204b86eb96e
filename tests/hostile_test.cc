// Every argument of every function, by every hostile value, in every kind of call: an error that
// names the argument, and not a byte written. The calls are generated; what is allowed stands in
// kAllowed. errors_test.cc has the messages to the letter, for some of them.
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
#include "hostile.h"
#include "hostile_calls.h"

namespace instnorm::test {
namespace {

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
  const char* reason = nullptr;
  bool (*holds)(const Case&) = nullptr;
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
      for (std::vector<double>* v : {&w.given.count, &w.given.mean, &w.given.m2}) {
        Case c{f, base, argument, "at", "moments", What::overlap, view, empty || v->empty()};
        if (!c.written()) continue;
        c.view.data = v->data();
        if (!c.empty) call(c);
      }
    }
    if (f.saves) {
      for (std::vector<double>* v : {&w.saved.count, &w.saved.mean, &w.saved.m2}) {
        Case c{f, base, argument, "at", "save_moments", What::overlap, view, empty};
        c.view.data = v->data();
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
