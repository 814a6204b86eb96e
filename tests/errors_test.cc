// Every mistake that a caller can make: std::invalid_argument with the operation, what was expected
// and what came, and nothing written.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "views.h"

namespace instnorm::test {
namespace {

// A legal call of everything, for each mistake to spoil.
struct World {
  static constexpr std::int64_t kN = 2, kC = 3, kL = 8;
  const Dims shape = {kN, kC, kL};
  Array x = filled(shape), g = filled(shape), y{DType::float32, shape}, dx{DType::float32, shape};
  Array weight = filled({kC}), bias = filled({kC});
  Array running_mean = filled({kC}), running_var = filled({kC});
  Array dw{DType::float32, {kC}}, db{DType::float32, {kC}};
  Moments given = Moments::empty(kN, kC), saved = Moments::empty(1, 1);

  static Array filled(const Dims& shape, DType dtype = DType::float32) {
    std::vector<double> v(static_cast<std::size_t>(shape.product()));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = 1.0 + static_cast<double>(i % 5);
    return Array(dtype, shape, v);
  }

  Options options() {
    Options o;
    o.weight = weight.view();
    o.bias = bias.view();
    o.running_mean = running_mean.view();
    o.running_var = running_var.view();
    o.save_moments = &saved;
    return o;
  }
  Gradients gradients() {
    return {.grad_input = dx.view(), .grad_weight = dw.view(), .grad_bias = db.view()};
  }
  BackwardOptions backward_options() {
    BackwardOptions o;
    o.weight = weight.view();
    o.bias = bias.view();
    return o;
  }

  void forward(const Options& o) { instance_norm(x.view(), y.view(), o); }
  void backward(const Gradients& wanted) {
    instance_norm_backward(x.view(), g.view(), given, wanted, backward_options());
  }

  std::vector<std::vector<std::byte>> memory() const {
    std::vector<std::vector<std::byte>> all;
    for (const Array* a :
         {&x, &g, &y, &dx, &weight, &bias, &running_mean, &running_var, &dw, &db}) {
      all.push_back(a->memory());
    }
    return all;
  }
};

struct Mistake {
  const char* name;
  std::function<void(World&)> make;
  std::vector<std::string> message;  // must be in it
};

View at(Array& a, std::ptrdiff_t elements, const Dims& shape, const Dims& strides = {}) {
  const View v = a.view();
  return view(static_cast<void*>(static_cast<std::byte*>(v.data) + elements * size_of(v.dtype)),
              v.dtype, shape, strides);
}

using W = World&;

Options with(W w, const std::function<void(Options&)>& change) {
  Options o = w.options();
  change(o);
  return o;
}

Gradients with_gradients(W w, const std::function<void(Gradients&)>& change) {
  Gradients wanted = w.gradients();
  change(wanted);
  return wanted;
}

const std::vector<Mistake>& forward_mistakes() {
  static const std::vector<Mistake> kMistakes = {
      {"x missing", [](W w) { instance_norm({}, w.y.view(), w.options()); }, {"x is missing"}},
      {"y missing", [](W w) { instance_norm(w.x.view(), {}, w.options()); }, {"y is missing"}},
      {"rank 1",
       [](W w) { instance_norm(at(w.x, 0, {8}), at(w.y, 0, {8})); },
       {"x must have at least 2 dimensions, (C, L) or (N, C, L)", "(8,)"}},
      {"rank 0", [](W w) { instance_norm(at(w.x, 0, {}), at(w.y, 0, {})); }, {"x"}},
      {"integers",
       [](W w) {
         std::vector<std::int32_t> ints(8);
         instance_norm(view(ints, {2, 4}), at(w.y, 0, {2, 4}));
       },
       {"x must be float16, bfloat16, float32 or float64", "int32"}},
      {"y of another shape",
       [](W w) { instance_norm(w.x.view(), at(w.y, 0, {2, 3, 7})); },
       {"y must have the shape of x", "(2, 3, 8)", "(2, 3, 7)"}},
      {"y of another rank",
       [](W w) { instance_norm(w.x.view(), at(w.y, 0, {6, 8})); },
       {"y must have the shape of x", "(6, 8)"}},
      {"y of another dtype",
       [](W w) {
         Array half(DType::float16, w.shape);
         instance_norm(w.x.view(), half.view());
       },
       {"y must have the dtype of x", "float32", "float16"}},
      {"no data",
       [](W w) { instance_norm(view(static_cast<float*>(nullptr), {2, 3, 8}), w.y.view()); },
       {"x has shape (2, 3, 8) but no data"}},
      {"y overlaps itself",
       [](W w) { instance_norm(w.x.view(), at(w.y, 0, {2, 3, 8}, {0, 8, 1})); },
       {"y overlaps itself"}},
      {"y overlaps itself, negative strides",
       [](W w) { instance_norm(at(w.x, 0, {2, 3}), at(w.y, 30, {2, 3}, {-5, 0})); },
       {"y overlaps itself"}},
      {"y partly x",
       [](W w) { instance_norm(at(w.x, 0, {1, 2, 8}), at(w.x, 1, {1, 2, 8})); },
       {"y overlaps x"}},
      {"y is x transposed",
       [](W w) { instance_norm(at(w.x, 0, {4, 4}, {4, 1}), at(w.x, 0, {4, 4}, {1, 4})); },
       {"y overlaps x"}},
      {"y over weight",
       [](W w) {
         Options o = w.options();
         o.weight = at(w.y, 4, {3});
         w.forward(o);
       },
       {"y overlaps weight"}},
      {"y over bias",
       [](W w) { w.forward(with(w, [&](Options& o) { o.bias = at(w.y, 4, {3}); })); },
       {"y overlaps bias"}},
      {"y over running_mean",
       [](W w) { w.forward(with(w, [&](Options& o) { o.running_mean = at(w.y, 4, {3}); })); },
       {"y overlaps running_mean"}},
      {"y over running_var, in evaluation",
       [](W w) {
         w.forward(with(w, [&](Options& o) {
           o.running_var = at(w.y, 4, {3});
           o.use_input_stats = false;
         }));
       },
       {"y overlaps running_var"}},
      {"weight of another length",
       [](W w) {
         Array four = World::filled({4});
         w.forward(with(w, [&](Options& o) { o.weight = four.view(); }));
       },
       {"weight must have shape (C,) = (3,) or (N, C) = (2, 3)", "(4,)"}},
      {"weight of length 1",
       [](W w) { w.forward(with(w, [&](Options& o) { o.weight = at(w.weight, 0, {1}); })); },
       {"weight must have shape", "(1,)"}},
      {"bias of another (N, C)",
       [](W w) {
         Array other = World::filled({3, 2});
         w.forward(with(w, [&](Options& o) { o.bias = other.view(); }));
       },
       {"bias must have shape (C,) = (3,) or (N, C) = (2, 3)", "(3, 2)"}},
      {"bias of rank 3",
       [](W w) {
         Array other = World::filled({2, 3, 1});
         w.forward(with(w, [&](Options& o) { o.bias = other.view(); }));
       },
       {"bias must have shape", "(2, 3, 1)"}},
      {"weight in float64",
       [](W w) {
         Array other = World::filled({3}, DType::float64);
         w.forward(with(w, [&](Options& o) { o.weight = other.view(); }));
       },
       {"weight must be float32 for a float32 x", "float64"}},
      {"bias in float16",
       [](W w) {
         Array other = World::filled({3}, DType::float16);
         w.forward(with(w, [&](Options& o) { o.bias = other.view(); }));
       },
       {"bias must be float32 for a float32 x", "float16"}},
      {"float32 weight for float64",
       [](W w) {
         Array x = World::filled({2, 3, 8}, DType::float64), y(DType::float64, {2, 3, 8});
         instance_norm(x.view(), y.view(), {.weight = w.weight.view()});
       },
       {"weight must be float64 for a float64 x", "float32"}},
      {"bfloat16 weight for float16",
       [](W) {
         Array x = World::filled({2, 3, 8}, DType::float16), y(DType::float16, {2, 3, 8});
         Array other = World::filled({3}, DType::bfloat16);
         instance_norm(x.view(), y.view(), {.weight = other.view()});
       },
       {"weight must be float32 or float16 for a float16 x", "bfloat16"}},
      {"weight without data",
       [](W w) {
         w.forward(
             with(w, [&](Options& o) { o.weight = view(static_cast<float*>(nullptr), {3}); }));
       },
       {"weight has shape (3,) but no data"}},
      {"running_mean alone",
       [](W w) { w.forward(with(w, [](Options& o) { o.running_var = {}; })); },
       {"running_mean and running_var must either both be given or neither"}},
      {"running_var alone, in evaluation",
       [](W w) {
         w.forward(with(w, [](Options& o) {
           o.running_mean = {};
           o.use_input_stats = false;
         }));
       },
       {"running_mean and running_var must either both be given or neither"}},
      {"evaluation without running statistics",
       [](W w) {
         w.forward(with(w, [](Options& o) {
           o.running_mean = o.running_var = {};
           o.use_input_stats = false;
         }));
       },
       {"running_mean and running_var are needed when use_input_stats is false"}},
      {"running_mean of another length",
       [](W w) {
         Array other = World::filled({6});
         w.forward(with(w, [&](Options& o) { o.running_mean = other.view(); }));
       },
       {"running_mean must have shape (C,) = (3,), got (6,)"}},
      {"running_var for each instance",
       [](W w) {
         Array other = World::filled({2, 3});
         w.forward(with(w, [&](Options& o) { o.running_var = other.view(); }));
       },
       {"running_var must have shape (C,) = (3,), got (2, 3)"}},
      {"running_var in another dtype",
       [](W w) {
         Array other = World::filled({3}, DType::float64);
         w.forward(with(w, [&](Options& o) { o.running_var = other.view(); }));
       },
       {"running_var must be float32", "float64"}},
      {"expanded running_mean",
       [](W w) {
         w.forward(with(w, [&](Options& o) { o.running_mean = at(w.running_mean, 0, {3}, {0}); }));
       },
       {"running_mean overlaps itself"}},
      {"expanded running_var",
       [](W w) {
         w.forward(with(w, [&](Options& o) { o.running_var = at(w.running_var, 0, {3}, {0}); }));
       },
       {"running_var overlaps itself"}},
      {"running_mean is running_var",
       [](W w) { w.forward(with(w, [](Options& o) { o.running_var = o.running_mean; })); },
       {"running_mean overlaps running_var"}},
      {"running_mean in x",
       [](W w) { w.forward(with(w, [&](Options& o) { o.running_mean = at(w.x, 0, {3}); })); },
       {"running_mean overlaps x"}},
      {"running_var is weight",
       [](W w) { w.forward(with(w, [&](Options& o) { o.running_var = w.weight.view(); })); },
       {"running_var overlaps weight"}},
      {"running_var is bias",
       [](W w) { w.forward(with(w, [&](Options& o) { o.running_var = w.bias.view(); })); },
       {"running_var overlaps bias"}},
      {"moments in evaluation",
       [](W w) {
         w.forward(with(w, [&](Options& o) {
           o.moments = &w.given;
           o.use_input_stats = false;
         }));
       },
       {"moments with use_input_stats false"}},
      {"moments of another shape",
       [](W w) {
         const Moments other = Moments::empty(3, 2);
         w.forward(with(w, [&](Options& o) { o.moments = &other; }));
       },
       {"moments must have shape (N, C) = (2, 3)", "(3, 2)"}},
      {"moments with a vector missing",
       [](W w) {
         w.given.m2.pop_back();
         w.forward(with(w, [&](Options& o) { o.moments = &w.given; }));
       },
       {"moments"}},
      {"length 1",
       [](W w) { instance_norm(at(w.x, 0, {2, 3, 1}), at(w.y, 0, {2, 3, 1})); },
       {"expected more than 1 value in each row", "(2, 3, 1)"}},
      {"length 1 of several dimensions",
       [](W w) { instance_norm(at(w.x, 0, {2, 3, 1, 1}), at(w.y, 0, {2, 3, 1, 1})); },
       {"expected more than 1 value in each row", "(2, 3, 1, 1)"}},
      {"length 1 of no instance",
       [](W w) { instance_norm(at(w.x, 0, {0, 3, 1}), at(w.y, 0, {0, 3, 1})); },
       {"expected more than 1 value in each row", "(0, 3, 1)"}},
      {"length 1 unbatched",
       [](W w) { instance_norm(at(w.x, 0, {3, 1}), at(w.y, 0, {3, 1})); },
       {"expected more than 1 value in each row", "(3, 1)"}},
  };
  return kMistakes;
}

const std::vector<Mistake>& backward_mistakes() {
  static const std::vector<Mistake> kMistakes = {
      {"x missing",
       [](W w) { instance_norm_backward({}, w.g.view(), w.given, w.gradients()); },
       {"x is missing"}},
      {"grad_output missing",
       [](W w) { instance_norm_backward(w.x.view(), {}, w.given, w.gradients()); },
       {"grad_output is missing"}},
      {"grad_output of another shape",
       [](W w) {
         instance_norm_backward(w.x.view(), at(w.g, 0, {2, 3, 7}), w.given, w.gradients());
       },
       {"grad_output must have the shape of x", "(2, 3, 7)"}},
      {"grad_output of another dtype",
       [](W w) {
         Array other(DType::float64, w.shape);
         instance_norm_backward(w.x.view(), other.view(), w.given, w.gradients());
       },
       {"grad_output must have the dtype of x", "float64"}},
      {"moments of another shape",
       [](W w) {
         instance_norm_backward(w.x.view(), w.g.view(), Moments::empty(2, 4), w.gradients());
       },
       {"moments must have shape (N, C) = (2, 3)", "(2, 4)"}},
      {"nothing asked for", [](W w) { w.backward({}); }, {"no gradient is asked for"}},
      {"grad_input of another shape",
       [](W w) {
         w.backward(
             with_gradients(w, [&](Gradients& d) { d.grad_input = at(w.dx, 0, {2, 3, 4}); }));
       },
       {"grad_input must have the shape of x", "(2, 3, 4)"}},
      {"grad_input overlaps itself",
       [](W w) {
         w.backward(with_gradients(
             w, [&](Gradients& d) { d.grad_input = at(w.dx, 0, {2, 3, 8}, {0, 8, 1}); }));
       },
       {"grad_input overlaps itself"}},
      {"grad_input partly x",
       [](W w) {
         instance_norm_backward(at(w.x, 0, {1, 2, 8}), at(w.g, 0, {1, 2, 8}), Moments::empty(1, 2),
                                {.grad_input = at(w.x, 1, {1, 2, 8})});
       },
       {"grad_input overlaps x"}},
      {"grad_input partly grad_output",
       [](W w) {
         instance_norm_backward(at(w.x, 0, {1, 2, 8}), at(w.g, 0, {1, 2, 8}), Moments::empty(1, 2),
                                {.grad_input = at(w.g, 1, {1, 2, 8})});
       },
       {"grad_input overlaps grad_output"}},
      {"grad_input over weight",
       [](W w) {
         instance_norm_backward(w.x.view(), w.g.view(), w.given, {.grad_input = w.dx.view()},
                                {.weight = at(w.dx, 3, {3})});
       },
       {"grad_input overlaps weight"}},
      {"grad_weight of another length",
       [](W w) {
         Array other(DType::float32, {4});
         w.backward(with_gradients(w, [&](Gradients& d) { d.grad_weight = other.view(); }));
       },
       {"grad_weight must have shape", "(4,)"}},
      {"grad_weight for each instance of a shared weight",
       [](W w) {
         Array other(DType::float32, {2, 3});
         w.backward(with_gradients(w, [&](Gradients& d) { d.grad_weight = other.view(); }));
       },
       {"grad_weight must have the shape of weight", "(2, 3)"}},
      {"grad_bias for each instance of a shared bias",
       [](W w) {
         Array other(DType::float32, {2, 3});
         w.backward(with_gradients(w, [&](Gradients& d) { d.grad_bias = other.view(); }));
       },
       {"grad_bias must have the shape of bias", "(2, 3)"}},
      {"grad_weight in another dtype",
       [](W w) {
         Array other(DType::float16, {3});
         w.backward(with_gradients(w, [&](Gradients& d) { d.grad_weight = other.view(); }));
       },
       {"grad_weight must be float32", "float16"}},
      {"grad_weight is grad_bias",
       [](W w) {
         w.backward(with_gradients(w, [](Gradients& d) { d.grad_bias = d.grad_weight; }));
       },
       {"grad_weight overlaps grad_bias"}},
      {"expanded grad_weight",
       [](W w) {
         w.backward(
             with_gradients(w, [&](Gradients& d) { d.grad_weight = at(w.dw, 0, {3}, {0}); }));
       },
       {"grad_weight overlaps itself"}},
      {"grad_weight is weight",
       [](W w) {
         w.backward(with_gradients(w, [&](Gradients& d) { d.grad_weight = w.weight.view(); }));
       },
       {"grad_weight overlaps weight"}},
      {"grad_bias in x",
       [](W w) {
         w.backward(with_gradients(w, [&](Gradients& d) { d.grad_bias = at(w.x, 0, {3}); }));
       },
       {"grad_bias overlaps x"}},
      {"grad_bias in grad_input",
       [](W w) {
         w.backward(with_gradients(w, [&](Gradients& d) { d.grad_bias = at(w.dx, 0, {3}); }));
       },
       {"grad_bias overlaps grad_input"}},
  };
  return kMistakes;
}

const std::vector<Mistake>& other_mistakes() {
  static const std::vector<Mistake> kMistakes = {
      {"moments of rank 1",
       [](W w) { moments(at(w.x, 0, {8})); },
       {"[moments] x must have", "(8,)"}},
      {"moments of nothing", [](W) { moments({}); }, {"[moments] x is missing"}},
      {"moments of integers",
       [](W) {
         std::vector<std::int64_t> ints(8);
         moments(view(ints, {2, 4}));
       },
       {"[moments] x must be float16", "int64"}},
      {"denormalize to another shape",
       [](W w) { denormalize(w.x.view(), w.given, at(w.y, 0, {2, 3, 4})); },
       {"[denormalize] x must have the shape of y", "(2, 3, 4)"}},
      {"denormalize by other moments",
       [](W w) { denormalize(w.x.view(), Moments::empty(1, 3), w.y.view()); },
       {"[denormalize] moments must have shape (N, C) = (2, 3)", "(1, 3)"}},
      {"denormalize partly over itself",
       [](W w) { denormalize(at(w.x, 0, {1, 2, 8}), Moments::empty(1, 2), at(w.x, 1, {1, 2, 8})); },
       {"[denormalize] x overlaps y"}},
      {"denormalize with another weight",
       [](W w) { denormalize(w.x.view(), w.given, w.y.view(), {.weight = at(w.weight, 0, {2})}); },
       {"[denormalize] weight must have shape", "(2,)"}},
      {"denormalize over its bias",
       [](W w) { denormalize(w.x.view(), w.given, w.y.view(), {.bias = at(w.y, 0, {3})}); },
       {"[denormalize] x overlaps bias"}},
      {"explain of a wrong call",
       [](W w) { explain(w.x.view(), at(w.y, 0, {2, 3, 7})); },
       {"[instance_norm] y must have the shape of x"}},
      {"no threads", [](W) { set_num_threads(0); }, {"[set_num_threads]", "at least 1", "got 0"}},
      {"fewer than no threads", [](W) { set_num_threads(-3); }, {"[set_num_threads]", "got -3"}},
  };
  return kMistakes;
}

void expect_error(const Mistake& mistake, const std::string& op) {
  SCOPED_TRACE(mistake.name);
  World world;
  const auto before = world.memory();
  try {
    mistake.make(world);
    ADD_FAILURE() << "no error";
  } catch (const std::invalid_argument& e) {
    const std::string message = e.what();
    EXPECT_EQ(message.rfind("[" + op, 0), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    for (const std::string& piece : mistake.message) {
      EXPECT_NE(message.find(piece), std::string::npos) << message << "\nlacks: " << piece;
    }
  }
  EXPECT_TRUE(world.memory() == before) << "something was written";
  EXPECT_EQ(world.saved.N, 1);
  EXPECT_EQ(world.saved.count, std::vector<double>{0.0});
}

TEST(Errors, TheWorldIsLegal) {
  World w;
  EXPECT_NO_THROW(w.forward(w.options()));
  EXPECT_NO_THROW(w.backward(w.gradients()));
  EXPECT_NO_THROW(denormalize(w.x.view(), w.given, w.y.view()));
}

TEST(Errors, OfInstanceNorm) {
  for (const Mistake& m : forward_mistakes()) expect_error(m, "instance_norm]");
}

TEST(Errors, OfInstanceNormBackward) {
  for (const Mistake& m : backward_mistakes()) expect_error(m, "instance_norm_backward]");
}

TEST(Errors, OfEverythingElse) {
  for (const Mistake& m : other_mistakes()) expect_error(m, "");
}

// What looks like a mistake and is none.
TEST(Errors, NotMadeOfLegalCalls) {
  World w;
  EXPECT_NO_THROW(instance_norm(w.x.view(), w.x.view()));
  // Inputs may overlap each other and themselves.
  EXPECT_NO_THROW(
      instance_norm(w.x.view(), w.y.view(), {.weight = w.weight.view(), .bias = w.weight.view()}));
  EXPECT_NO_THROW(instance_norm(w.x.view(), w.y.view(), {.weight = at(w.weight, 0, {3}, {0})}));
  EXPECT_NO_THROW(instance_norm(w.x.view(), w.y.view(), {.weight = at(w.x, 0, {3})}));
  EXPECT_NO_THROW(
      instance_norm_backward(w.x.view(), w.x.view(), w.given, {.grad_input = w.dx.view()}));
  // x and y beside each other in one array, in halves and interleaved.
  EXPECT_NO_THROW(
      instance_norm(at(w.x, 0, {1, 3, 4}, {24, 8, 1}), at(w.x, 4, {1, 3, 4}, {24, 8, 1})));
  EXPECT_NO_THROW(
      instance_norm(at(w.x, 0, {1, 3, 4}, {24, 8, 2}), at(w.x, 1, {1, 3, 4}, {24, 8, 2})));
  // A length of 1 is enough where the statistics come from elsewhere.
  Moments given = Moments::empty(2, 3);
  EXPECT_NO_THROW(instance_norm(at(w.x, 0, {2, 3, 1}), at(w.y, 0, {2, 3, 1}), {.moments = &given}));
}

}  // namespace
}  // namespace instnorm::test
