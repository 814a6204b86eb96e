// lengths, mask, nan_policy, data_format, activation, per-instance parameters, given moments: every
// combination against the textbook.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cstdint>

#include "extras_calls.h"

namespace instnorm::test {
namespace {

class Combinations : public EveryDType {};
INSTANTIATE_TEST_SUITE_P(Extras, Combinations, kEveryDType, kDTypeName);

template <class F>
void each_presence(ExtrasCase c, const F& f) {
  for (const Where where : kWhere) {
    for (const bool omit : {false, true}) {
      for (const DataFormat format : {DataFormat::NCL, DataFormat::NLC}) {
        c.where = where;
        c.omit = omit;
        c.format = format;
        f(c);
      }
    }
  }
}

constexpr NormalisedBy kBy[] = {NormalisedBy::own, NormalisedBy::running, NormalisedBy::given};

TEST_P(Combinations, OfEverythingOnShortRows) {
  each_presence({.dtype = GetParam()}, [](ExtrasCase c) {
    for (const Given parameters : kGiven) {
      for (const Activation activation : kActivations) {
        for (const NormalisedBy by : kBy) {
          c.parameters = parameters;
          c.activation = activation;
          c.by = by;
          ExtrasCall(c).check();
        }
      }
    }
  });
}

TEST_P(Combinations, OnLongRows) {
  each_presence({.dtype = GetParam(), .N = 4, .C = 1, .L = 9000, .parameters = Given::shared},
                [](ExtrasCase c) {
                  for (const Activation activation : {Activation::none, Activation::gelu}) {
                    c.activation = activation;
                    ExtrasCall(c).check();
                  }
                });
}

TEST_P(Combinations, OnOtherShapes) {
  struct Shape {
    std::int64_t N, C, L;
  };
  for (const Shape s : {Shape{1, 1, 2}, Shape{2, 17, 5}, Shape{5, 2, 1}, Shape{4, 1, 64}}) {
    each_presence({.dtype = GetParam(), .N = s.N, .C = s.C, .L = s.L}, [](ExtrasCase c) {
      if (c.L == 1 && c.where == Where::all && !c.omit) return;  // an error
      c.parameters = Given::per_instance;
      c.weight_offset = 1.0;
      ExtrasCall(c).check();
    });
  }
}

TEST_P(Combinations, OfRankTwo) {
  each_presence({.dtype = GetParam(), .N = 1, .C = 3, .batched = false}, [](ExtrasCase c) {
    for (const Given parameters : kGiven) {
      c.parameters = parameters;
      c.activation = Activation::silu;
      ExtrasCall(c).check();
    }
  });
}

TEST_P(Combinations, InPlaceAndStrided) {
  for (const Pattern pattern : kOutputPatterns) {
    for (const bool in_place : {false, true}) {
      each_presence({.dtype = GetParam(), .pattern = pattern, .in_place = in_place},
                    [](ExtrasCase c) {
                      for (const Activation activation : {Activation::none, Activation::silu}) {
                        c.activation = activation;
                        c.parameters = Given::shared;
                        ExtrasCall(c).check();
                      }
                    });
    }
  }
}

}  // namespace
}  // namespace instnorm::test
