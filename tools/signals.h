// What the command does when it is told to stop.
#pragma once

namespace instnorm::cli {

// From now on SIGINT, SIGTERM, SIGHUP and SIGPIPE, those that are not ignored, remove unfinished
// files before the process dies of them; a file that grows beyond its limit is an error of the
// write and no signal.
void handle_signals();

}  // namespace instnorm::cli
