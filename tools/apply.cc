// instnorm apply: normalises a file.
#include <instnorm/functional.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "atomic_file.h"
#include "blocks.h"
#include "commands.h"
#include "dtype.h"
#include "errors.h"
#include "moments_file.h"
#include "nan_found.h"
#include "npy_input.h"
#include "row_algebra.h"
#include "selection.h"
#include "state.h"
#include "text.h"

namespace instnorm::cli {
namespace {

class Apply {
 public:
  explicit Apply(const ApplyOptions& o)
      : o_(o),
        input_(o.input, o.data_format),
        selection_(o.lengths, o.mask, input_, o.data_format) {
    if (!o.state.empty()) state_.emplace(o.state, o.prefix, input_.C(), input_.dtype());
    choose_statistics();
    if (!o.moments.empty()) given_.emplace(o.moments, input_.N(), input_.C());
    // All outputs are opened before the work, so that what cannot be written is known at once.
    output_.emplace(o.output, o.force);
    if (!o.save_moments.empty()) {
      saved_.emplace(o.save_moments, input_.N(), input_.C(), o.force);
    }
    if (!o.save_state.empty()) state_writable_.emplace(o.save_state, o.force);
  }

  void run() {
    const std::string header = make_npy_header(input_.dtype(), input_.header().shape);
    output_->write(header.data(), header.size());
    if (input_.empty()) {
      without_elements();
    } else {
      each_block(input_, selection_.bytes_per_instance(),
                 [&](std::int64_t first, const View& x) { block(first, x); });
    }
    commit();
  }

 private:
  // PyTorch's modes; running statistics in the file mean evaluation unless something else is asked
  // for, and given moments are something else.
  void choose_statistics() {
    const bool tracked = state_ && state_->has_running_statistics();
    if (o_.eval && !tracked) {
      throw std::runtime_error(o_.state +
                               ": --eval needs running_mean and running_var, which are "
                               "not there");
    }
    if (!o_.save_state.empty() && !tracked) {
      throw std::runtime_error(o_.state +
                               ": --save-state needs running_mean and running_var to "
                               "update, which are not there");
    }
    options_.eps = o_.eps;
    options_.data_format = o_.data_format;
    options_.nan_policy = o_.nan_policy;
    options_.activation = o_.activation;
    options_.use_input_stats = !(o_.eval || (tracked && !o_.train && o_.moments.empty()));
    if (state_) {
      options_.weight = state_->parameter("weight");
      options_.bias = state_->parameter("bias");
    }
    if (!options_.use_input_stats) {
      options_.running_mean = state_->parameter("running_mean");
      options_.running_var = state_->parameter("running_var");
    }
    // The running statistics are updated from all blocks together, here and not in the library.
    if (!o_.save_state.empty()) sums_.resize(static_cast<std::size_t>(input_.C()));
    if (!o_.save_moments.empty() || !sums_.empty()) options_.save_moments = &used_;
  }

  void block(std::int64_t first, const View& x) {
    const View y = destination_.of(x);
    const std::int64_t count = input_.batched() ? x.shape[0] : 1;
    if (given_) options_.moments = &given_->read(first, count);
    selection_.give(first, count, options_);
    if (o_.explain && first == 0) print(explanation(x, y));
    try {
      instance_norm(x, y, options_);
    } catch (const NanFound& e) {
      throw NanFound("instance_norm", "x", first + e.n, e.c);  // as of the whole file
    }
    output_->write(y.data, static_cast<std::size_t>(y.shape.product() * size_of(y.dtype)));
    if (options_.save_moments == nullptr) return;
    if (saved_) saved_->write(first, used_);
    for (std::size_t i = 0; i < used_.count.size() && !sums_.empty(); ++i) {
      sums_[i % sums_.size()].add({used_.count[i], used_.mean[i], used_.m2[i]});
    }
  }

  void without_elements() {
    const View x =
        view(static_cast<void*>(nullptr), input_.dtype(), input_.block_shape(input_.N()));
    if (!given_) {
      const std::string text = explanation(x, x);  // refuses what instance_norm would
      if (o_.explain) print(text);
    }
    if (!saved_ || input_.N() == 0 || input_.C() == 0) return;
    const Moments none = Moments::empty(1, input_.C());
    for (std::int64_t n = 0; n < input_.N(); ++n) saved_->write(n, none);
  }

  std::string explanation(const View& x, const View& y) const {
    const NpyHeader& header = input_.header();
    const std::int64_t at_once =
        input_.instances_per_block(block_bytes(), selection_.bytes_per_instance());
    const std::int64_t blocks = (input_.N() + at_once - 1) / at_once;
    std::string s = std::string("file     ") + name(header.dtype) + " " +
                    Dims(header.shape.data(), header.shape.size()).str() +
                    (header.fortran_order ? ", Fortran order" : ", C order") +
                    (header.big_endian ? ", big-endian\n" : "\n");
    s += "stream   " + std::to_string(blocks) + (blocks == 1 ? " block" : " blocks") +
         " of up to " + std::to_string(at_once) + (at_once == 1 ? " instance, " : " instances, ") +
         bytes_text(at_once * input_.bytes_per_instance()) +
         (y.data == x.data ? ", normalised in place\n" : ", copied to C order\n");
    s += "moments  ";
    if (given_) {
      s += "given ones (" + one_line(o_.moments) + ")\n";
    } else if (!options_.use_input_stats) {
      s += "running statistics (" + one_line(o_.state) + ")\n";
    } else {
      s += "of each row itself\n";
    }
    if (const std::string values = selection_.str(); !values.empty()) {
      s += "values   by " + values + "\n";
    }
    return s + "The first block:\n" + explain(x, y, options_);
  }

  // As the library does it for one call on the whole file, to the bit.
  void update_running_statistics() {
    for (const auto& [name, sum] : {std::pair("running_mean", &RunningSums::mean),
                                    std::pair("running_var", &RunningSums::var)}) {
      const DType dtype = state_->stored_dtype(name);
      std::byte* at = state_->stored(name);
      for (const RunningSums& sums : sums_) {
        if (sums.instances > 0.0) {
          const double mean_of_new = sums.*sum / sums.instances;
          store_double(at, dtype, running_update(mean_of_new, load_double(at, dtype), o_.momentum));
        }
        at += size_of(dtype);
      }
    }
  }

  // Nothing has its name before everything is written.
  void commit() {
    std::unique_ptr<SafetensorsWriter> state;
    if (!o_.save_state.empty()) {
      update_running_statistics();
      state_writable_.reset();
      state = state_->save(o_.save_state, o_.force);
    }
    std::string done;
    const auto put = [&](auto& file, const std::string& path) {
      try {
        file.commit();
      } catch (const std::runtime_error& e) {
        throw std::runtime_error(e.what() + done);
      }
      done += (done.empty() ? "; complete and in place: " : ", ") + path;
    };
    put(*output_, o_.output);
    if (saved_) put(*saved_, o_.save_moments);
    if (state) put(*state, o_.save_state);
  }

  const ApplyOptions& o_;
  NpyInput input_;
  Selection selection_;
  std::optional<State> state_;
  std::optional<MomentsInput> given_;
  std::optional<AtomicFile> output_;
  std::optional<MomentsOutput> saved_;
  std::optional<AtomicFile> state_writable_;  // until the state is written
  Options options_;
  Moments used_;
  std::vector<RunningSums> sums_;  // one a channel
  Destination destination_;
};

}  // namespace

void apply(const ApplyOptions& options) {
  if (!options.lengths.empty() && !options.mask.empty()) {
    throw UsageError("lengths and mask are both given: give one of them");
  }
  if (options.eval && options.state.empty()) throw UsageError("--eval needs --state");
  if (!options.save_state.empty() && options.state.empty()) {
    throw UsageError("--save-state needs --state");
  }
  if (!options.prefix.empty() && options.state.empty()) throw UsageError("--prefix needs --state");
  if (options.eval && !options.moments.empty()) {
    throw UsageError("--eval and --moments exclude each other");
  }
  check_different({{"OUT", options.output},
                   {"--save-moments", options.save_moments},
                   {"--save-state", options.save_state}});
  blaming(options.input, [&] { Apply(options).run(); });
}

}  // namespace instnorm::cli
