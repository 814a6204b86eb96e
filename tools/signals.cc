#include "signals.h"

#include <signal.h>

#include "atomic_file.h"

namespace instnorm::cli {
namespace {

void stop(int signal) {
  remove_unfinished_files();
  // The handler was reset to the default when it was entered; the signal is delivered on return.
  (void)::raise(signal);
}

}  // namespace

void handle_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    struct sigaction now{};
    if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) continue;
    struct sigaction ours{};
    ours.sa_handler = stop;
    ours.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(signal, &ours, nullptr);
  }
  (void)::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace instnorm::cli
